//! The exported functions of the driver API.
