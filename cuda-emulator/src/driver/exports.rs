//! How an exported function is written: name, C types, and a body that returns a status.

/// Defines exported functions, and lists them for cuGetProcAddress. A body ends in a [`Status`](super::status::Status).
macro_rules! exports {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            #[allow(non_snake_case)]
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($arg: $type),*) -> $crate::driver::status::Status {
                let call = || -> $crate::driver::status::Status { $body };
                let status = call();
                $crate::driver::report::trace(stringify!($name), status);
                status
            }
        )*

        /// The functions of this module by name.
        pub(super) fn table() -> Vec<(&'static str, *const std::ffi::c_void)> {
            vec![$((stringify!($name), $name as *const std::ffi::c_void)),*]
        }
    };
}

pub(super) use exports;
