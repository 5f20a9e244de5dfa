use super::*;

fn pair(prompt: usize, chosen: usize, rejected: usize) -> Pair {
    Pair {
        prompt: vec![1; prompt],
        chosen: vec![2; chosen],
        rejected: vec![3; rejected],
    }
}

fn key() -> Key {
    Key {
        model: "00000001".into(),
        data: "00000002".into(),
        precision: "f32 portable".into(),
    }
}

fn known() -> [Vec<Vec<f32>>; 2] {
    [vec![vec![-1.5, -2.5, -3.5], vec![-0.25; 3]], vec![vec![-7.0, -8.0]]]
}

#[test]
fn numbers_come_back_and_nothing_broken_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    // Without a prompt the first token of either answer is no prediction.
    let train = [pair(4, 1, 2), pair(0, 3, 2)];
    let held_out = [pair(1, 1, 1)];
    let sets = [train.as_slice(), &held_out];
    assert_eq!(read(&path, &key(), sets), Ok(None));
    write(&path, &key(), &known()).unwrap();
    assert_eq!(read(&path, &key(), sets), Ok(Some(known())));

    for change in [
        |k: &mut Key| k.model.push('x'),
        |k: &mut Key| k.data.push('x'),
        |k: &mut Key| k.precision.push('x'),
    ] {
        let mut other = key();
        change(&mut other);
        let why = read(&path, &other, sets).unwrap_err();
        assert!(why.ends_with("log-probs of another reference, other data or another precision"));
    }
    assert!(read(&path, &key(), [&train[..1], &held_out]).is_err());

    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(read(&path, &key(), sets).is_err(), "byte {at}");
        std::fs::write(&path, &good[..at]).unwrap();
        assert!(read(&path, &key(), sets).is_err(), "cut at {at}");
    }
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(read(&path, &key(), sets).is_err());
}
