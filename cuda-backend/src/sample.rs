//! From logits to a token, on the device.
