//! Modules and functions.

use super::abi::{Chars, Context, Function, Image, Module, Out, Text, Words};
use super::assembler;
use super::device::{Architecture, DEFAULT_SHARED, THREADS};
use super::exports::exports;
use super::report;
use super::state::{Answer, DONE, Driver, Rest, here};
use super::status::Status;
use super::work::Work;
use crate::engine::{self, Kernel};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A loaded module.
pub struct ModuleState {
    /// Where it was loaded.
    pub context: Context,
    code: engine::Module,
    functions: BTreeMap<String, Function>,
}

/// A function that somebody asked for.
pub struct FunctionState {
    /// Its module.
    pub module: Module,
    /// Where that was loaded.
    pub context: Context,
    /// Its code.
    pub kernel: Arc<Kernel>,
    /// Bytes of dynamic shared memory that a launch may ask for.
    pub max_dynamic: usize,
    /// Preferred share of shared memory in percent, or -1.
    carveout: i32,
    /// 10 x version of PTX's target and 10 x version of the device.
    versions: [i32; 2],
}

/// The newest PTX that a driver of version 13.0 takes.
const NEWEST_PTX: (u32, u32) = (9, 0);

/// Registers of a thread where no ptxas has said how many.
pub const UNKNOWN_REGISTERS: u32 = 32;

/// `CU_JIT_`: places and sizes of the two logs.
const INFO_LOG: i32 = 3;
const INFO_SIZE: i32 = 4;
const ERROR_LOG: i32 = 5;
const ERROR_SIZE: i32 = 6;

/// The number in "sm_80" or "sm_90a".
fn target_number(target: &str) -> Option<u32> {
    target
        .strip_prefix("sm_")?
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .parse()
        .ok()
}

impl Driver {
    /// Loads PTX; an error comes with a text for the log.
    fn load(&mut self, context: Context, ptx: &str) -> Result<Module, (Status, String)> {
        let loaded = self.engine.load(ptx);
        let mut code = loaded.map_err(|e| (Status::INVALID_PTX, e.to_string()))?;
        let arch = self.engine.options.arch;
        let ptxas = self.engine.options.ptxas.as_deref();
        let assembled = ptxas.map(|ptxas| assembler::registers(ptxas, &code.target, ptx));
        let refusal = if code.ptx_version > NEWEST_PTX {
            let ((major, minor), (newest, _)) = (code.ptx_version, NEWEST_PTX);
            Some((
                Status::UNSUPPORTED_PTX_VERSION,
                format!("PTX ISA {major}.{minor} is newer than {newest}.0, the newest that CUDA 13.0 takes"),
            ))
        } else if target_number(&code.target).is_none_or(|sm| sm > arch) {
            Some((
                Status::INVALID_PTX,
                format!("the target {} is not for this device, sm_{arch}", code.target),
            ))
        } else if let Some(Err(text)) = &assembled {
            Some((Status::INVALID_PTX, text.clone()))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.engine.unload(&code);
            return Err(refusal);
        }
        for (name, count) in assembled.and_then(Result::ok).into_iter().flatten() {
            if let Some(kernel) = code.kernels.get_mut(&name) {
                kernel.registers = Some(count);
            }
        }
        let module = Module::number(self.number());
        self.modules.insert(
            module,
            ModuleState {
                context,
                code,
                functions: BTreeMap::new(),
            },
        );
        Ok(module)
    }

    /// Loads an image and says on stderr why not.
    fn load_image(&mut self, context: Context, image: Result<&str, Status>) -> Result<Module, (Status, String)> {
        self.forbid_in_capture(context)
            .map_err(|status| (status, String::new()))?;
        let loaded = match image {
            Ok(ptx) => self.load(context, ptx),
            Err(Status::NO_BINARY_FOR_GPU) => Err((
                Status::NO_BINARY_FOR_GPU,
                "machine code (an ELF file or a fat binary) does not run on the emulator: load PTX".into(),
            )),
            Err(status) => Err((status, "not a text".into())),
        };
        if let Err((_, text)) = &loaded {
            report::load_error(&format!("module not loaded: {text}"));
        }
        loaded
    }

    /// Frees a module at once.
    pub fn unload(&mut self, module: Module) {
        if let Some(state) = self.modules.remove(&module) {
            self.engine.unload(&state.code);
            self.functions.retain(|_, f| f.module != module);
        }
    }

    /// Whether bytes lie in a variable of a module.
    pub fn module_range(&self, address: u64, bytes: u64) -> bool {
        let mut all = self.modules.values().flat_map(|m| m.code.globals.values());
        all.any(|(start, size)| address >= *start && address.saturating_add(bytes) <= start + *size as u64)
    }

    fn get_function(&mut self, module: Module, name: &str) -> Result<Function, Status> {
        let state = self.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
        if let Some(function) = state.functions.get(name) {
            return Ok(*function);
        }
        let kernel = Arc::new(state.code.kernels.get(name).ok_or(Status::NOT_FOUND)?.clone());
        let arch = self.engine.options.arch;
        let versions = [target_number(&state.code.target).unwrap_or(arch) as i32, arch as i32];
        let context = state.context;
        let limit = Architecture::of(arch).shared_block as usize;
        let max_dynamic = DEFAULT_SHARED.min(limit).saturating_sub(kernel.static_shared);
        let function = Function::number(self.number());
        self.functions.insert(
            function,
            FunctionState {
                module,
                context,
                kernel,
                max_dynamic,
                carveout: -1,
                versions,
            },
        );
        if let Some(state) = self.modules.get_mut(&module) {
            state.functions.insert(name.into(), function);
        }
        Ok(function)
    }

    /// The function of a handle.
    pub fn function(&self, function: Function) -> Result<&FunctionState, Status> {
        self.functions.get(&function).ok_or(Status::INVALID_HANDLE)
    }

    fn function_attribute(&self, function: Function, attribute: i32) -> Result<i32, Status> {
        let f = self.function(function)?;
        match attribute {
            0 => Ok(f.kernel.max_threads.unwrap_or(THREADS) as i32),
            1 => Ok(f.kernel.static_shared as i32),
            // Constant memory of its own: constants of a module belong to the module here.
            2 => Ok(0),
            3 => Ok(f.kernel.local_bytes as i32),
            4 => Ok(f.kernel.registers.unwrap_or(UNKNOWN_REGISTERS) as i32),
            5 | 6 => Ok(f.versions[attribute as usize - 5]),
            8 => Ok(f.max_dynamic as i32),
            9 => Ok(f.carveout),
            // Caching of loads, clusters.
            7 | 10..=15 => Ok(0),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    fn set_function_attribute(&mut self, function: Function, attribute: i32, value: i32) -> Result<(), Status> {
        let limit = Architecture::of(self.engine.options.arch).shared_block as usize;
        let f = self.functions.get_mut(&function).ok_or(Status::INVALID_HANDLE)?;
        match attribute {
            8 => {
                let bytes = usize::try_from(value).map_err(|_| Status::INVALID_VALUE)?;
                if bytes + f.kernel.static_shared > limit {
                    let name = &f.kernel.name;
                    report::misuse(&format!(
                        "{name}: {bytes} bytes of dynamic and {} of static shared memory, a block can have {limit}",
                        f.kernel.static_shared
                    ));
                    return Err(Status::INVALID_VALUE);
                }
                f.max_dynamic = bytes;
                Ok(())
            }
            9 if (-1..=100).contains(&value) => {
                f.carveout = value;
                Ok(())
            }
            _ => Err(Status::INVALID_VALUE),
        }
    }
}

fn load_data(module: Out<'_, Module>, image: &Image<'_>) -> Status {
    here(|d, context| {
        let new = d.load_image(context, image.get()).map_err(|(status, _)| status)?;
        module.set(new)?;
        DONE
    })
}

exports! {
    /// Loads PTX from memory.
    fn cuModuleLoadData(module: Out<'_, Module>, image: Image<'_>) {
        load_data(module, &image)
    }

    /// The same with options of the compiler: the logs are written, the others change nothing.
    fn cuModuleLoadDataEx(module: Out<'_, Module>, image: Image<'_>, count: u32, options: Words<'_, i32>, values: Words<'_, usize>) {
        let option = |wanted: i32| {
            let all = options.get(count).iter().zip(values.get(count));
            all.clone().find(|(option, _)| **option == wanted).map(|(_, value)| *value)
        };
        let log = |place: i32, size: i32, text: &str| {
            if let (Some(address), Some(bytes)) = (option(place), option(size))
                && let Ok(bytes) = i32::try_from(bytes)
            {
                // A place of no bytes takes no text.
                let _ = Chars::at(address).set(text, bytes);
            }
        };
        here(|d, context| {
            let loaded = d.load_image(context, image.get());
            log(ERROR_LOG, ERROR_SIZE, loaded.as_ref().err().map_or("", |(_, text)| text));
            log(INFO_LOG, INFO_SIZE, "");
            module.set(loaded.map_err(|(status, _)| status)?)?;
            DONE
        })
    }

    /// Loads a file of PTX.
    fn cuModuleLoad(module: Out<'_, Module>, path: Text<'_>) {
        here(|d, context| {
            let path = path.get()?;
            let bytes = std::fs::read(path).map_err(|e| {
                report::load_error(&format!("{path}: {e}"));
                Status::FILE_NOT_FOUND
            })?;
            let is_code = bytes.starts_with(b"\x7fELF") || bytes.starts_with(&[0x50, 0xed, 0x55, 0xba]);
            let image = if is_code { Err(Status::NO_BINARY_FOR_GPU) } else { std::str::from_utf8(&bytes).map_err(|_| Status::INVALID_IMAGE) };
            let new = d.load_image(context, image).map_err(|(status, _)| status)?;
            module.set(new)?;
            DONE
        })
    }

    /// Ends a module when its kernels are done.
    fn cuModuleUnload(module: Module) {
        here(|d, _| -> Answer {
            d.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
            let uses = |work: &Work| matches!(work, Work::Launch(l) if l.module == module);
            let ops = d.queue.iter().filter(|(_, op)| uses(&op.work)).map(|(id, _)| id).collect();
            Ok(Rest::Then(ops, Box::new(move |d| {
                d.unload(module);
                Ok(())
            })))
        })
    }

    /// A kernel by name.
    fn cuModuleGetFunction(function: Out<'_, Function>, module: Module, name: Text<'_>) {
        here(|d, _| {
            let found = d.get_function(module, name.get()?)?;
            function.set(found)?;
            DONE
        })
    }

    /// How many kernels a module has.
    fn cuModuleGetFunctionCount(count: Out<'_, u32>, module: Module) {
        here(|d, _| {
            let state = d.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
            count.set(state.code.kernels.len() as u32)?;
            DONE
        })
    }

    /// A variable by name.
    fn cuModuleGetGlobal_v2(address: Out<'_, u64>, bytes: Out<'_, usize>, module: Module, name: Text<'_>) {
        here(|d, _| {
            let state = d.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
            let (start, size) = state.code.globals.get(name.get()?).ok_or(Status::NOT_FOUND)?;
            address.set_if_wanted(*start);
            bytes.set_if_wanted(*size);
            DONE
        })
    }

    /// When functions are loaded: at once.
    fn cuModuleGetLoadingMode(mode: Out<'_, i32>) {
        here(|_, _| {
            mode.set(1)?;
            DONE
        })
    }

    /// An attribute of a function.
    fn cuFuncGetAttribute(value: Out<'_, i32>, attribute: i32, function: Function) {
        here(|d, _| {
            value.set(d.function_attribute(function, attribute)?)?;
            DONE
        })
    }

    /// Sets one.
    fn cuFuncSetAttribute(function: Function, attribute: i32, value: i32) {
        here(|d, _| {
            d.set_function_attribute(function, attribute, value)?;
            DONE
        })
    }

    /// The preferred split between cache and shared memory; on these devices it changes nothing.
    fn cuFuncSetCacheConfig(function: Function, config: i32) {
        here(|d, _| {
            d.function(function)?;
            if (0..=3).contains(&config) { DONE } else { Err(Status::INVALID_VALUE) }
        })
    }

    /// A function's module.
    fn cuFuncGetModule(module: Out<'_, Module>, function: Function) {
        here(|d, _| {
            module.set(d.function(function)?.module)?;
            DONE
        })
    }

    /// Where a parameter of a function lies.
    fn cuFuncGetParamInfo(function: Function, index: usize, offset: Out<'_, usize>, bytes: Out<'_, usize>) {
        here(|d, _| {
            let param = d.function(function)?.kernel.params.get(index).ok_or(Status::INVALID_VALUE)?;
            offset.set(param.offset)?;
            bytes.set_if_wanted(param.size);
            DONE
        })
    }
}
