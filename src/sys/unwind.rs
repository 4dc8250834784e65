//! The functions that std would unwind with, as empty shells.
//!
//! A panic of PID 1 runs the failure policy and never unwinds (`panic = "abort"`), and there is no debug information on
//! the appliance that a backtrace could be read with. std's printer of backtraces comes along all the same: an
//! unwinder, a DWARF reader, an inflater and a demangler, a fifth of the program. They all hang on the functions below.
//! Because these are found before the linker looks into libunwind, and do nothing, link-time optimisation sees that no
//! callback is ever called and drops the rest.
//!
//! Reference: Itanium C++ ABI, exception handling, level I. All of them are C functions whose arguments and results are
//! machine words or pointers.

use core::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK`: there were no frames to walk over.
const END_OF_STACK: c_int = 5;

macro_rules! shells {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty = $value:expr)?;)*) => {
        $(
            // SAFETY: no other definition of the symbol is linked, because the unwinder's archive is searched only for
            // what is still missing; the signature is the ABI's.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                $(let _unused = $argument;)*
                $($value)?
            }
        )*
    };
}

shells! {
    _Unwind_Backtrace(callback: *const c_void, data: *const c_void) -> c_int = END_OF_STACK;
    _Unwind_DeleteException(exception: *const c_void);
    _Unwind_FindEnclosingFunction(pc: *const c_void) -> *const c_void = core::ptr::null();
    _Unwind_GetCFA(context: *const c_void) -> usize = 0;
    _Unwind_GetDataRelBase(context: *const c_void) -> usize = 0;
    _Unwind_GetGR(context: *const c_void, register: c_int) -> usize = 0;
    _Unwind_GetIP(context: *const c_void) -> usize = 0;
    _Unwind_GetIPInfo(context: *const c_void, before: *mut c_int) -> usize = 0;
    _Unwind_GetLanguageSpecificData(context: *const c_void) -> *const c_void = core::ptr::null();
    _Unwind_GetRegionStart(context: *const c_void) -> usize = 0;
    _Unwind_GetTextRelBase(context: *const c_void) -> usize = 0;
    _Unwind_RaiseException(exception: *const c_void) -> c_int = END_OF_STACK;
    _Unwind_SetGR(context: *const c_void, register: c_int, value: usize);
    _Unwind_SetIP(context: *const c_void, value: usize);
}

// SAFETY: as above. Landing pads end in this; none is ever entered.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *const c_void) -> ! {
    std::process::abort()
}
