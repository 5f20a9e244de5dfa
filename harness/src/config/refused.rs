//! TRL's keys that mean nothing here, and what to do instead.

/// Name (with `*` at its end: all that begin so) and reason.
const REFUSED: &[(&str, &str)] = &[
    (
        "fp16*",
        "there is no float16 training; use bf16 = true or dtype = \"f32\"",
    ),
    ("bf16_full_eval", "evaluation runs in the training's dtype"),
    ("tf32", "there is no TF32; use dtype"),
    ("deepspeed", "a run is one process; leave it out"),
    ("fsdp*", "a run is one process; leave it out"),
    ("ddp_*", "a run is one process; leave it out"),
    ("local_rank", "a run is one process; leave it out"),
    ("accelerator_config", "a run is one process; leave it out"),
    ("parallelism_config", "a run is one process; leave it out"),
    ("average_tokens_across_devices", "a run is one process; leave it out"),
    ("log_on_each_node", "a run is one process; leave it out"),
    ("save_on_each_node", "a run is one process; leave it out"),
    ("torch_*", "there is no PyTorch here; leave it out"),
    ("use_liger_kernel", "there is no PyTorch here; leave it out"),
    ("liger_kernel_config", "there is no PyTorch here; leave it out"),
    ("activation_offloading", "there is no PyTorch here; leave it out"),
    ("trust_remote_code", "no code is loaded with a model; leave it out"),
    ("model_init_kwargs", "use dtype and model_name_or_path"),
    ("attn_implementation", "there is one attention; leave it out"),
    ("torch_dtype", "use dtype"),
    ("use_cpu", "the CPU is the default; leave it out"),
    ("full_determinism", "every run is deterministic; leave it out"),
    ("dataloader_*", "data is read in the run's own process; leave it out"),
    ("dataset_num_proc", "data is read in the run's own process; use threads"),
    ("dataset_name", "use dataset.path"),
    ("dataset_kwargs", "use the dataset table"),
    ("remove_unused_columns", "unused columns are ignored; leave it out"),
    ("label_names", "use the dataset table"),
    ("shuffle_dataset", "use shuffle"),
    ("train_sampling_strategy", "use shuffle"),
    ("group_by_length", "batches have no padding; leave it out"),
    ("length_column_name", "batches have no padding; leave it out"),
    ("padding_free", "batches have no padding; leave it out"),
    ("pad_to_multiple_of", "batches have no padding; leave it out"),
    ("push_to_hub*", "nothing is uploaded; leave it out"),
    ("hub_*", "nothing is uploaded; leave it out"),
    ("trackio_*", "use report_to = \"tensorboard\""),
    ("log_level*", "leave it out"),
    ("disable_tqdm", "the bar shows on a terminal only; leave it out"),
    ("enable_jit_checkpoint", "SIGTERM always saves; leave it out"),
    (
        "ignore_data_skip",
        "a resumed run goes on where it stopped; leave it out",
    ),
    ("lr_scheduler_kwargs", "it is not supported"),
    (
        "optim_args",
        "it is not supported; see adam_beta1, adam_beta2, adam_epsilon",
    ),
    ("optim_target_modules", "it is not supported"),
    ("label_smoothing_factor", "it is not supported"),
    ("neftune_noise_alpha", "it is not supported"),
    (
        "auto_find_batch_size",
        "it is not supported; set per_device_train_batch_size",
    ),
    ("router_aux_loss_coef", "mixture-of-experts models are not supported"),
    ("logging_strategy", "use logging_steps"),
    ("eval_packing", "it is not supported; evaluation follows packing"),
    ("eval_delay", "it is not supported"),
    (
        "activation_checkpointing_kwargs",
        "it is not supported; see gradient_checkpointing",
    ),
    (
        "gradient_checkpointing_kwargs",
        "it is not supported; see gradient_checkpointing",
    ),
    ("use_cache", "training keeps no cache; leave it out"),
    (
        "logging_nan_inf_filter",
        "a loss that is not finite stops the run; leave it out",
    ),
    (
        "include_num_input_tokens_seen",
        "num_tokens is always logged; leave it out",
    ),
    ("project", "use run_name"),
    (
        "prediction_loss_only",
        "evaluation keeps no predictions; use proximal eval",
    ),
    (
        "eval_do_concat_batches",
        "evaluation keeps no predictions; leave it out",
    ),
    ("eval_use_gather_object", "a run is one process; leave it out"),
    (
        "eval_accumulation_steps",
        "evaluation keeps no predictions; leave it out",
    ),
    ("include_for_metrics", "evaluation keeps no predictions; leave it out"),
    ("batch_eval_metrics", "evaluation keeps no predictions; leave it out"),
    (
        "restore_callback_states_from_checkpoint",
        "there are no callbacks; leave it out",
    ),
    ("debug", "a number that is not finite is always named; leave it out"),
    ("skip_memory_metrics", "leave it out"),
    ("do_train", "the subcommand says it; leave it out"),
    ("do_eval", "the subcommand says it; use eval_strategy"),
    ("do_predict", "use proximal eval"),
    ("disable_dropout", "there is no dropout; leave it out"),
    (
        "reference_free",
        "there always is a reference; loss_type = \"sft\" does without",
    ),
    ("rpo_alpha", "use loss_type = [\"sigmoid\", \"sft\"] and loss_weights"),
    ("force_use_ref_model", "use ref_model"),
    ("ref_model_name_or_path", "use ref_model"),
    ("ref_model_init_kwargs", "use dtype and ref_model"),
    (
        "max_prompt_length",
        "TRL 1 has no such key; use max_length, or leave long prompts out of the data",
    ),
    (
        "generate_during_eval",
        "use questions, or proximal eval on a checkpoint",
    ),
    ("save_only_model", "a checkpoint is always complete; leave it out"),
    // GRPO and RLOO.
    ("vllm_importance_sampling_cap", "use vllm_importance_sampling_clip_max"),
    (
        "vllm_importance_sampling_clip_min",
        "it is not supported: weights have an upper bound alone",
    ),
    (
        "use_vllm",
        "completions are drawn in the run's own process; leave it out",
    ),
    ("vllm_*", "completions are drawn in the run's own process; leave it out"),
    (
        "use_transformers_*",
        "rollouts are always batched continuously; leave it out",
    ),
    (
        "transformers_continuous_*",
        "use rollout_batch_size and rollout_cache_bytes",
    ),
    ("cache_implementation", "use rollout_cache_bytes"),
    ("ds3_gather_for_generation", "a run is one process; leave it out"),
    (
        "cast_lm_head_to_fp32",
        "log-probs are summed in f32 always; leave it out",
    ),
    (
        "generation_kwargs",
        "use temperature, top_p, top_k, min_p, repetition_penalty and stop_strings",
    ),
    ("chat_template_kwargs", "use dataset.chat_template_kwargs"),
    ("max_tool_calling_iterations", "tools are not called"),
    ("log_multimodal", "there are texts only; leave it out"),
    (
        "log_unique_prompts",
        "it is not supported; see num_completions_to_print",
    ),
    ("log_completions_hub_repo", "nothing is uploaded; see log_completions"),
    (
        "vespo_*",
        "the paper's constants are fixed: k 2 and lambda 3, 3 and 2 where the advantage is negative",
    ),
    (
        "multi_objective_aggregation",
        "rewards are summed, then normalised; the other order is not supported",
    ),
    ("use_adaptive_entropy", "it is not supported; entropy_coef is constant"),
    ("entropy_coef_*", "it is not supported; entropy_coef is constant"),
    ("entropy_target", "it is not supported; entropy_coef is constant"),
    (
        "ref_model",
        "the reference is the model that training begins with; see sync_ref_model",
    ),
    // PPOConfig's, of TRL before 1.0 and of its first trainer.
    ("response_length", "use max_completion_length"),
    ("total_episodes", "use max_steps or num_train_epochs"),
    ("num_total_batches", "use max_steps or num_train_epochs"),
    ("reward_model_path", "use reward_funcs = [\"FOLDER\"]"),
    ("sft_model_path", "use model_name_or_path"),
    ("model_adapter_name", "adapters are not supported"),
    ("ref_adapter_name", "adapters are not supported"),
    ("exp_name", "use run_name"),
    (
        "stop_token",
        "the model's end of turn ends a completion; see eos_token and stop_strings",
    ),
    (
        "stop_token_id",
        "the model's end of turn ends a completion; see eos_token and stop_strings",
    ),
    ("num_sample_generations", "use eval_strategy and log_completions"),
    ("local_rollout_forward_batch_size", "use rollout_batch_size"),
    ("forward_batch_size", "use rollout_batch_size"),
    ("world_size", "a run is one process; leave it out"),
    (
        "batch_size",
        "use per_device_train_batch_size, gradient_accumulation_steps and num_mini_batches",
    ),
    (
        "local_batch_size",
        "use per_device_train_batch_size, gradient_accumulation_steps and num_mini_batches",
    ),
    (
        "mini_batch_size",
        "use per_device_train_batch_size, gradient_accumulation_steps and num_mini_batches",
    ),
    (
        "local_mini_batch_size",
        "use per_device_train_batch_size, gradient_accumulation_steps and num_mini_batches",
    ),
    ("micro_batch_size", "use per_device_train_batch_size"),
    ("backward_batch_size", "use per_device_train_batch_size"),
    ("ppo_epochs", "use num_ppo_epochs"),
    ("init_kl_coef", "use kl_coef"),
    ("kl_penalty", "use kl_estimator"),
    ("adap_kl_ctrl", "kl_coef is constant; leave it out"),
    ("target", "kl_coef is constant; leave it out"),
    ("horizon", "kl_coef is constant; leave it out"),
    ("early_stopping", "use target_kl"),
    ("score_clip", "it is not supported; see whiten_rewards"),
    ("use_score_scaling", "it is not supported; see whiten_rewards"),
    ("use_score_norm", "it is not supported; see whiten_rewards"),
    (
        "ratio_threshold",
        "a loss that is not finite and a KL above kl_limit stop the run; leave it out",
    ),
];

/// Why TRL's key `name` is not taken; `None` when it is not one of them.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    let holds = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    REFUSED
        .iter()
        .find(|(pattern, _)| holds(pattern))
        .map(|(_, reason)| *reason)
}
