//! Converts a GGUF file into a Hugging Face folder: `gguf_to_hf FILE FOLDER float32|bfloat16|float64`.
use model_qwen2::gguf::convert;
use model_qwen2::tensors::{DEFAULT_SHARD_BYTES, Dtype};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(folder), Some(dtype)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: gguf_to_hf FILE FOLDER DTYPE".into());
    };
    let dtype = Dtype::from_torch_name(&dtype).ok_or("DTYPE: float32, bfloat16, float16 or float64")?;
    let done = convert(file, folder, dtype, DEFAULT_SHARD_BYTES)?;
    println!(
        "{} tensors, {} parameters, {:?}",
        done.tensors, done.parameters, done.config
    );
    Ok(())
}
