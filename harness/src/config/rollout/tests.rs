use super::*;
use crate::config::{GroupLossType, Grpo, Parsed, Ppo, Rloo, Trpo, parse};

fn run<K: Trainer>(args: &[&str]) -> Result<Config<K>> {
    let needed = ["--model", "m", "--dataset.path", "d", "--reward_funcs", "length"];
    match parse::<K>(needed.iter().chain(args).map(|arg| arg.to_string()))? {
        Parsed::Run(config) => Ok(*config),
        Parsed::Help(text) => panic!("{text}"),
    }
}

fn complaint<K: Trainer>(args: &[&str]) -> String {
    run::<K>(args).err().map_or("nothing".into(), |e| e.to_string())
}

#[test]
fn defaults_are_those_of_trl_1_16() {
    // From GRPOConfig and RLOOConfig of TRL 1.16, with use_cpu=True.
    let grpo = run::<Grpo>(&[]).unwrap();
    assert_eq!(
        (grpo.shared.learning_rate, grpo.shared.gradient_accumulation_steps),
        (1e-6, 1)
    );
    let (rollout, own) = (&grpo.own.rollout, &grpo.own.own);
    assert_eq!(
        (
            rollout.max_completion_length,
            rollout.temperature,
            rollout.top_p,
            rollout.top_k
        ),
        (512, 1.0, 1.0, 0)
    );
    assert_eq!((rollout.min_p, rollout.repetition_penalty), (None, 1.0));
    assert_eq!(
        (own.num_generations, own.beta, own.num_iterations, own.epsilon),
        (8, 0.0, 1, 0.2)
    );
    assert_eq!(
        (own.loss_type, own.scale_rewards, own.use_bias_correction_kl),
        (GroupLossType::Dapo, super::super::ScaleRewards::Group, true)
    );
    assert_eq!((own.sapo_temperature_pos, own.sapo_temperature_neg), (1.0, 1.05));
    let rloo = run::<Rloo>(&[]).unwrap();
    let own = &rloo.own.own;
    assert_eq!(
        (
            own.num_generations,
            own.beta,
            own.num_iterations,
            own.normalize_advantages
        ),
        (2, 0.05, 1, false)
    );
    assert_eq!(
        (
            own.ref_model_mixup_alpha,
            own.ref_model_sync_steps,
            rloo.own.rollout.max_completion_length
        ),
        (0.6, 512, 512)
    );
}

/// Every key of TRL's configurations is either taken or refused with a reason: none is just "unknown".
#[test]
fn every_key_of_trl_is_known() {
    fn unknown<K: Trainer>(names: &str) -> Vec<&str> {
        let is = |name: &&str| complaint::<K>(&[&format!("--{name}"), "7"]).contains("unknown key");
        names.lines().filter(is).collect()
    }
    assert_eq!(unknown::<Grpo>(include_str!("../trl_grpo_keys.txt")), [""; 0]);
    assert_eq!(unknown::<Rloo>(include_str!("../trl_rloo_keys.txt")), [""; 0]);
    assert_eq!(unknown::<Ppo>(include_str!("../trl_ppo_keys.txt")), [""; 0]);
    let message = complaint::<Ppo>(&["--response_length=53"]);
    assert!(
        message.ends_with("use max_completion_length, found TRL's response_length"),
        "{message}"
    );
}

#[test]
fn completions_are_divided_as_in_trl() {
    let keys = [
        "--per_device_train_batch_size=4",
        "--gradient_accumulation_steps=2",
        "--num_generations=8",
    ];
    let plan = |keys: &[&str]| run::<Grpo>(keys).unwrap().plan().unwrap();
    let whole = plan(&keys);
    assert_eq!((whole.prompts, whole.per_step, whole.steps()), (1, 8, 1));
    let more = plan(&[&keys[..], &["--steps_per_generation=6", "--num_iterations=3"]].concat());
    assert_eq!((more.prompts, more.per_step, more.steps()), (3, 8, 9));
    assert_eq!(
        plan(&[&keys[..], &["--generation_batch_size=24", "--num_iterations=3"]].concat()),
        more
    );
    let ppo = run::<Ppo>(&[&keys[..2], &["--num_mini_batches=3"]].concat()).unwrap();
    let ppo = ppo.plan().unwrap();
    assert_eq!((ppo.prompts, ppo.per_step, ppo.steps()), (24, 8, 12));
}

#[test]
fn settings_that_exclude_each_other_are_named() {
    let group = "--num_generations: expected at least 2";
    for (found, expected) in [
        (complaint::<Grpo>(&["--num_generations=1"]), group),
        (complaint::<Rloo>(&["--num_generations=1"]), group),
        (complaint::<Trpo>(&["--num_generations=1"]), group),
        (
            complaint::<Trpo>(&["--num_generations=1", "--advantage=critic"]),
            "nothing",
        ),
        (
            complaint::<Grpo>(&["--num_generations=3"]),
            "--num_generations: expected a divisor of the 8 completions of a generation \
             (per_device_train_batch_size = 8 times 1 micro-batches), found 3",
        ),
        (
            complaint::<Grpo>(&["--steps_per_generation=3", "--gradient_accumulation_steps=2"]),
            "--steps_per_generation: expected a multiple of gradient_accumulation_steps = 2, found 3",
        ),
        (
            complaint::<Grpo>(&["--generation_batch_size=24", "--gradient_accumulation_steps=2"]),
            "--generation_batch_size: expected a multiple of per_device_train_batch_size x gradient_accumulation_steps \
             = 16, found 24",
        ),
        (
            complaint::<Grpo>(&["--generation_batch_size=12"]),
            "--generation_batch_size: expected a multiple of per_device_train_batch_size x gradient_accumulation_steps \
             = 8, found 12",
        ),
        (
            complaint::<Grpo>(&["--generation_batch_size=16", "--steps_per_generation=2"]),
            "--generation_batch_size: expected steps_per_generation or generation_batch_size, not both",
        ),
        (
            complaint::<Grpo>(&["--temperature=0"]),
            "--temperature: expected a number (above 0), found 0",
        ),
        (
            complaint::<Grpo>(&["--loss_type=cispo"]),
            "epsilon_high: expected a number, the absolute cap of cispo, found none",
        ),
        (
            complaint::<Grpo>(&["--loss_typ=dapo"]),
            "--loss_typ: expected a known key; the nearest is loss_type",
        ),
        (complaint::<Grpo>(&["--reward_funcs", "boxd"]), "boxed"),
        (
            complaint::<Rloo>(&["--reward_clip_range", "1", "-1"]),
            "--reward_clip_range: expected two numbers, the lower first",
        ),
        (
            complaint::<Ppo>(&["--value_model=v"]),
            "--value_model: expected nothing, or critic = \"model\"",
        ),
        (complaint::<Trpo>(&["--bf16=true"]), "dtype: expected f32"),
        (
            complaint::<Trpo>(&["--master_dtype=bf16"]),
            "--master_dtype: expected f32: a step within a trust region needs its digits, found bf16",
        ),
        (
            complaint::<Grpo>(&["--bf16", "--master_dtype=bf16", "--sync_ref_model", "--beta=0.1"]),
            "--sync_ref_model: expected false with master_dtype = \"bf16\"",
        ),
        (
            complaint::<Trpo>(&["--max_kl=11"]),
            "--max_kl: expected at most kl_limit = 10, where the run stops, found 11",
        ),
    ] {
        assert!(found.contains(expected), "{found}\n{expected}");
    }
    let none = parse::<Grpo>(["--model", "m", "--dataset.path", "d"].map(String::from));
    assert_eq!(
        none.unwrap_err().to_string(),
        "configuration: reward_funcs: expected at least one reward function, found none"
    );
}

/// TRL takes a truth value too.
#[test]
fn scale_rewards_may_be_true_or_false() {
    use super::super::ScaleRewards;
    for (word, expected) in [
        ("true", ScaleRewards::Group),
        ("false", ScaleRewards::None),
        ("batch", ScaleRewards::Batch),
    ] {
        let config = run::<Grpo>(&["--scale_rewards", word]).unwrap();
        assert_eq!(config.own.own.scale_rewards, expected);
    }
}
