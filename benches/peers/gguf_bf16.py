"""Writes a GGUF file again with its matrices in bf16 or f32, dequantised by the `gguf` package; everything else is
copied.

    python gguf_bf16.py model.Q4_1.gguf model.bf16.gguf [--dtype f32]

So llama.cpp has the weights that `proximal convert` makes of the same file. Vectors (norms, biases) become f32, as
llama.cpp wants them.
"""

import argparse

import gguf
import numpy as np

TYPES = {"bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
         "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32)}

MADE = ("general.architecture", "general.file_type", "general.quantization_version")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source")
    p.add_argument("target")
    p.add_argument("--dtype", choices=sorted(TYPES), default="bf16")
    args = p.parse_args()
    kind, file_type = TYPES[args.dtype]
    reader = gguf.GGUFReader(args.source)
    writer = gguf.GGUFWriter(args.target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        # The writer makes these itself.
        if name.startswith("GGUF.") or name in MADE:
            continue
        element = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], element)
    writer.add_file_type(file_type)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim > 1 and args.dtype != "f32":
            writer.add_tensor(tensor.name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{args.target}: {len(reader.tensors)} tensors, {args.dtype}")


if __name__ == "__main__":
    main()
