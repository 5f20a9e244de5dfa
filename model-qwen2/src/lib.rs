//! Qwen2 and Llama-family models as files: Hugging Face folders in and out, GGUF in, tokenizers, chat templates,
//! generation.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | config.json, as transformers 4 and 5 write it |
//! | [`tensors`] | model.safetensors, one file or sharded: memory-mapped, bounds-checked, written atomically |
//! | [`gguf`] | GGUF import: tensors, metadata, tokenizer |
//! | [`tokenizer`] | tokenizer.json and tokenizer_config.json |
//! | [`folder`] | a model folder, opened and saved |
//! | [`generate`] | generation with continuous batching |
//! | [`chat`] | Jinja chat templates, rendered as transformers does |
//! | [`sample`] | texts and conversations as training samples: ids and the mask of what is trained |
//! | [`error`] | the one error type |

pub mod chat;
pub mod config;
pub mod error;
pub mod folder;
pub mod generate;
pub mod gguf;
pub mod sample;
pub mod tensors;
pub mod tokenizer;

pub use error::{Error, Result};
