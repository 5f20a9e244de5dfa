use super::*;
use crate::reward::{RewardConfig, Setup};

fn close(mean: Mean, expected: [f64; 3]) {
    let found = [mean.mean, mean.low, mean.high].map(Option::unwrap);
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-9, "{found:?} {expected:?}");
    }
}

fn ones(right: usize, n: usize) -> Mean {
    Mean::of((0..n).map(|i| Some(f64::from(u8::from(i < right)))))
}

/// Numbers of statsmodels' `proportion_confint(method="wilson")`, and of the normal distribution by hand.
#[test]
fn intervals() {
    close(ones(5, 10), [0.5, 0.236593090512564, 0.763406909487436]);
    close(ones(0, 10), [0.0, 0.0, 0.277532799862889]);
    close(ones(50, 50), [1.0, 0.928652400867676, 1.0]);
    // Deviation 1, of four numbers: half is 1.96 / 2.
    let mean = Mean::of([0.0, 0.0, 3.0, 3.0, 1.5].map(Some));
    assert_eq!((mean.n, mean.mean), (5, Some(1.5)));
    close(
        mean,
        [1.5, 1.5 - Z * (2.25f64 / 5.0).sqrt(), 1.5 + Z * (2.25f64 / 5.0).sqrt()],
    );
    assert_eq!(Mean::of([None, None]), Mean::default());
    let one = Mean::of([Some(0.25), None]);
    assert_eq!((one.n, one.mean, one.low, one.high), (1, Some(0.25), None, None));
    assert_eq!(one.to_string(), "0.250 (n 1)");
    assert_eq!(ones(5, 10).to_string(), "0.500 (0.237 to 0.763, n 10)");
    assert_eq!(Mean::default().to_string(), "none scored");
}

fn rewards(weights: &[f64]) -> Rewards {
    let funcs = RewardConfig::list("f", &"boxed,length".into()).unwrap();
    let setup = Setup {
        max_completion_length: 4,
        threads: None,
    };
    Rewards::open(&funcs, Some(weights), &setup).unwrap()
}

fn add(scores: &mut Scores, rewards: &Rewards, values: [Option<f64>; 2]) -> Map<String, Value> {
    let scored = Scored {
        by_function: values.map(|v| vec![v]).to_vec(),
        total: vec![rewards.total(&values)],
        notes: Vec::new(),
    };
    let (by_name, total) = scores.add(&scored);
    Map::from_iter([("rewards".to_owned(), by_name), ("reward".to_owned(), total)])
}

#[test]
fn what_is_written_is_read_back() {
    let rewards = rewards(&[1.0, 0.1]);
    let mut written = Scores::new(&rewards);
    let rows = [
        add(&mut written, &rewards, [Some(1.0), Some(-0.3)]),
        add(&mut written, &rewards, [None, Some(-1.0)]),
        add(&mut written, &rewards, [None, None]),
    ];
    assert_eq!(rows[1]["rewards"], json!({ "boxed": null, "length": -1.0 }));
    assert_eq!((&rows[0]["reward"], &rows[2]["reward"]), (&json!(0.97), &json!(null)));
    let mut read = Scores::new(&rewards);
    for row in &rows {
        let text = Value::Object(row.clone()).to_string();
        read.read(&serde_json::from_str(&text).unwrap(), &rewards).unwrap();
    }
    assert_eq!(read, written);
    let means = read.means();
    assert_eq!(
        means.iter().map(|(name, m)| (*name, m.n)).collect::<Vec<_>>(),
        [("boxed", 1), ("length", 2), ("reward", 2)]
    );
    // Other weights, other names, or none: another evaluation.
    let other = self::rewards(&[1.0, 0.2]);
    assert_eq!(Scores::new(&other).read(&rows[0], &other), None);
    let mut renamed = rows[0].clone();
    renamed["rewards"] = json!({ "length": -0.3, "boxed": 1.0 });
    assert_eq!(Scores::new(&rewards).read(&renamed, &rewards), None);
    assert_eq!(Scores::new(&rewards).read(&Map::new(), &rewards), None);
}

#[test]
fn differences_are_over_the_rows_of_both() {
    let rewards = rewards(&[1.0, 1.0]);
    let scores = |totals: &[Option<f64>]| {
        let mut scores = Scores::new(&rewards);
        for total in totals {
            match total {
                Some(_) => drop(add(&mut scores, &rewards, [*total, None])),
                None => scores.skip(),
            }
        }
        scores
    };
    let a = scores(&[Some(1.0), Some(1.0), Some(0.0), None, Some(1.0)]);
    let b = scores(&[Some(0.0), Some(1.0), Some(1.0), Some(1.0), Some(0.0)]);
    let d = a.against(&b);
    assert_eq!((d.mean.n, d.mean.mean, d.better, d.worse), (4, Some(0.25), 2, 1));
    // Deviation of 1, 0, -1, 1.
    let half = Z * (2.75f64 / 3.0 / 4.0).sqrt();
    close(d.mean, [0.25, 0.25 - half, 0.25 + half]);
    // All 0 or 1, and yet no proportions.
    let d = scores(&[Some(1.0), Some(0.0)]).against(&scores(&[Some(0.0), Some(0.0)]));
    assert_eq!(d.mean.mean, Some(0.5));
    assert!(d.mean.low.unwrap() < 0.0);
}
