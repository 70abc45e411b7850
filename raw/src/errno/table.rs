//! The errors that Linux has, with their numbers on every architecture.
//!
//! MIPS and SPARC number the errors above 34 in their own way, and have a few more. All other
//! architectures agree, but for `EDEADLOCK` on PowerPC (`arch/*/include/uapi/asm/errno.h`).

use super::Errno;

const IS_MIPS: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
));
const IS_SPARC: bool = cfg!(any(target_arch = "sparc", target_arch = "sparc64"));
const IS_POWERPC: bool = cfg!(any(target_arch = "powerpc", target_arch = "powerpc64"));

/// Selects the number of the architecture that this is compiled for.
const fn by_architecture(generic: u16, mips: u16, sparc: u16) -> u16 {
    if IS_MIPS {
        mips
    } else if IS_SPARC {
        sparc
    } else {
        generic
    }
}

macro_rules! number {
    ($everywhere:literal) => {
        $everywhere
    };
    ($generic:literal, $mips:literal, $sparc:literal) => {
        by_architecture($generic, $mips, $sparc)
    };
}

/// Takes `NAME = NUMBER, TEXT;`, or `NAME = GENERIC | MIPS | SPARC, TEXT;`.
macro_rules! errnos {
    ($($name:ident = $number:literal $(| $mips:literal | $sparc:literal)?, $text:literal;)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $text, ".")]
                pub const $name: Self = Self::constant(number!($number $(, $mips, $sparc)?));
            )*
        }

        /// The number of each error, in the order of [`TEXTS`].
        const NUMBERS: &[u16] = &[$(number!($number $(, $mips, $sparc)?)),*];

        /// The name and the text of each error, each ended by a zero byte. One string for all
        /// takes half the memory of a table of strings.
        const TEXTS: &str = concat!($(stringify!($name), "\0", $text, "\0"),*);

        /// Each name with its number, or with the generic one, that of MIPS and that of SPARC.
        #[cfg(test)]
        const COLUMNS: &[(&str, &[u16])] =
            &[$((stringify!($name), &[$number $(, $mips, $sparc)?])),*];
    };
}

errnos! {
    EPERM = 1, "operation not permitted (a filter may refuse the call)";
    ENOENT = 2, "no such file or directory";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted by a signal";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "argument list too long";
    ENOEXEC = 8, "not a format that can be executed";
    EBADF = 9, "bad file descriptor, or not open for this direction";
    ECHILD = 10, "no child process";
    EAGAIN = 11, "no room or no data at present, try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    ENOTBLK = 15, "a block device is required";
    EBUSY = 16, "device or resource busy";
    EEXIST = 17, "file exists";
    EXDEV = 18, "link across file systems";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files in the system";
    EMFILE = 24, "too many open files in the process";
    ENOTTY = 25, "the device does not know the request";
    ETXTBSY = 26, "text file busy";
    EFBIG = 27, "file too large";
    ENOSPC = 28, "no space left on device";
    ESPIPE = 29, "the file cannot be positioned";
    EROFS = 30, "read-only file system";
    EMLINK = 31, "too many links";
    EPIPE = 32, "broken pipe";
    EDOM = 33, "argument outside of the domain";
    ERANGE = 34, "result out of range";
    EDEADLK = 35 | 45 | 78, "a deadlock would result";
    ENAMETOOLONG = 36 | 78 | 63, "file name too long";
    ENOLCK = 37 | 46 | 79, "no record locks available";
    ENOSYS = 38 | 89 | 90, "the kernel does not have the call";
    ENOTEMPTY = 39 | 93 | 66, "directory not empty";
    ELOOP = 40 | 90 | 62, "too many symbolic links";
    ENOMSG = 42 | 35 | 75, "no message of the desired type";
    EIDRM = 43 | 36 | 77, "identifier removed";
    ECHRNG = 44 | 37 | 94, "channel number out of range";
    EL2NSYNC = 45 | 38 | 95, "level 2 not synchronized";
    EL3HLT = 46 | 39 | 96, "level 3 halted";
    EL3RST = 47 | 40 | 97, "level 3 reset";
    ELNRNG = 48 | 41 | 98, "link number out of range";
    EUNATCH = 49 | 42 | 99, "protocol driver not attached";
    ENOCSI = 50 | 43 | 100, "no CSI structure available";
    EL2HLT = 51 | 44 | 101, "level 2 halted";
    EBADE = 52 | 50 | 102, "invalid exchange, or a reservation conflict";
    EBADR = 53 | 51 | 103, "invalid request descriptor";
    EXFULL = 54 | 52 | 104, "exchange full";
    ENOANO = 55 | 53 | 105, "no anode";
    EBADRQC = 56 | 54 | 106, "invalid request code";
    EBADSLT = 57 | 55 | 107, "invalid slot";
    EBFONT = 59 | 59 | 109, "bad font file format";
    ENOSTR = 60 | 60 | 72, "not a stream";
    ENODATA = 61 | 61 | 111, "no data available";
    ETIME = 62 | 62 | 73, "timer expired";
    ENOSR = 63 | 63 | 74, "out of streams resources";
    ENONET = 64 | 64 | 80, "the machine is not on the network";
    ENOPKG = 65 | 65 | 113, "package not installed";
    EREMOTE = 66 | 66 | 71, "the object is remote";
    ENOLINK = 67 | 67 | 82, "the link has been severed";
    EADV = 68 | 68 | 83, "advertise error";
    ESRMNT = 69 | 69 | 84, "srmount error";
    ECOMM = 70 | 70 | 85, "communication error on send";
    EPROTO = 71 | 71 | 86, "protocol error";
    EMULTIHOP = 72 | 74 | 87, "multihop attempted";
    EDOTDOT = 73 | 73 | 88, "RFS error";
    EBADMSG = 74 | 77 | 76, "bad message, or corrupt metadata";
    EOVERFLOW = 75 | 79 | 92, "value too large";
    ENOTUNIQ = 76 | 80 | 115, "name not unique on the network";
    EBADFD = 77 | 81 | 93, "file descriptor in a bad state";
    EREMCHG = 78 | 82 | 89, "remote address changed";
    ELIBACC = 79 | 83 | 114, "a shared library cannot be accessed";
    ELIBBAD = 80 | 84 | 112, "a shared library is corrupt";
    ELIBSCN = 81 | 85 | 124, "corrupt section in a program";
    ELIBMAX = 82 | 86 | 123, "too many shared libraries";
    ELIBEXEC = 83 | 87 | 110, "a shared library cannot be executed";
    EILSEQ = 84 | 88 | 122, "data failed its integrity check";
    ERESTART = 85 | 91 | 116, "an interrupted call should be restarted";
    ESTRPIPE = 86 | 92 | 91, "streams pipe error";
    EUSERS = 87 | 94 | 68, "too many users";
    ENOTSOCK = 88 | 95 | 38, "not a socket";
    EDESTADDRREQ = 89 | 96 | 39, "destination address required";
    EMSGSIZE = 90 | 97 | 40, "message too long";
    EPROTOTYPE = 91 | 98 | 41, "wrong protocol type for the socket";
    ENOPROTOOPT = 92 | 99 | 42, "protocol not available";
    EPROTONOSUPPORT = 93 | 120 | 43, "protocol not supported";
    ESOCKTNOSUPPORT = 94 | 121 | 44, "socket type not supported";
    EOPNOTSUPP = 95 | 122 | 45, "operation or flag not supported";
    EPFNOSUPPORT = 96 | 123 | 46, "protocol family not supported";
    EAFNOSUPPORT = 97 | 124 | 47, "address family not supported";
    EADDRINUSE = 98 | 125 | 48, "address in use";
    EADDRNOTAVAIL = 99 | 126 | 49, "address not available";
    ENETDOWN = 100 | 127 | 50, "network is down";
    ENETUNREACH = 101 | 128 | 51, "network is unreachable";
    ENETRESET = 102 | 129 | 52, "network dropped the connection";
    ECONNABORTED = 103 | 130 | 53, "connection aborted";
    ECONNRESET = 104 | 131 | 54, "connection reset by the peer";
    ENOBUFS = 105 | 132 | 55, "no buffer space available";
    EISCONN = 106 | 133 | 56, "the socket is connected";
    ENOTCONN = 107 | 134 | 57, "the socket is not connected";
    ESHUTDOWN = 108 | 143 | 58, "the endpoint has been shut down";
    ETOOMANYREFS = 109 | 144 | 59, "too many references";
    ETIMEDOUT = 110 | 145 | 60, "timed out";
    ECONNREFUSED = 111 | 146 | 61, "connection refused";
    EHOSTDOWN = 112 | 147 | 64, "host is down";
    EHOSTUNREACH = 113 | 148 | 65, "no route to the host";
    EALREADY = 114 | 149 | 37, "operation already in progress";
    EINPROGRESS = 115 | 150 | 36, "operation in progress";
    ESTALE = 116 | 151 | 70, "stale file handle";
    EUCLEAN = 117 | 135 | 117, "the file system is damaged";
    ENOTNAM = 118 | 137 | 118, "not a XENIX named type file";
    ENAVAIL = 119 | 138 | 119, "no XENIX semaphores available";
    EISNAM = 120 | 139 | 120, "is a named type file";
    EREMOTEIO = 121 | 140 | 121, "remote input/output error";
    EDQUOT = 122 | 1133 | 69, "disk quota exceeded";
    ENOMEDIUM = 123 | 159 | 125, "no medium in the drive";
    EMEDIUMTYPE = 124 | 160 | 126, "wrong type of medium";
    ECANCELED = 125 | 158 | 127, "operation cancelled";
    ENOKEY = 126 | 161 | 128, "required key not available";
    EKEYEXPIRED = 127 | 162 | 129, "the key has expired";
    EKEYREVOKED = 128 | 163 | 130, "the key has been revoked";
    EKEYREJECTED = 129 | 164 | 131, "the key was rejected";
    EOWNERDEAD = 130 | 165 | 132, "the owner died";
    ENOTRECOVERABLE = 131 | 166 | 133, "the state cannot be recovered";
    ERFKILL = 132 | 167 | 134, "the radio is switched off";
    EHWPOISON = 133 | 168 | 135, "the page has a hardware error";
    FORKED = 4096, "the context was made before fork() and belongs to the parent; make a new one";
    EXHAUSTED = 4097, "io_submit had no resources for the operation (EAGAIN) for as long as the \
        driver retries; free memory and start it again, or raise Driver::retry_submits_for";
}

impl Errno {
    /// `EWOULDBLOCK`: another name of [`EAGAIN`](Self::EAGAIN).
    pub const EWOULDBLOCK: Self = Self::EAGAIN;
    /// `ENOTSUP`: the C library's other name of [`EOPNOTSUPP`](Self::EOPNOTSUPP).
    pub const ENOTSUP: Self = Self::EOPNOTSUPP;
    /// `EDEADLOCK`: another name of [`EDEADLK`](Self::EDEADLK), with a number of its own on MIPS,
    /// PowerPC and SPARC.
    pub const EDEADLOCK: Self = match OTHERS.first() {
        Some(&(number, ..)) => Self::constant(number),
        None => Self::EDEADLK,
    };
}

/// Errors that not every architecture has: `EDEADLOCK` first, then a number, a name and a text.
type Others = [(u16, &'static str, &'static str)];

const DEADLOCK: &str = "a deadlock of file locks would result";
const MIPS: &Others = &[
    (56, "EDEADLOCK", DEADLOCK),
    (141, "EINIT", "reserved"),
    (142, "EREMDEV", "error of a remote device"),
];
const SPARC: &Others = &[
    (108, "EDEADLOCK", DEADLOCK),
    (67, "EPROCLIM", "too many processes"),
    (81, "ERREMOTE", "the object is remote"),
];
const POWERPC: &Others = &[(58, "EDEADLOCK", DEADLOCK)];

/// Those of the architecture that this is compiled for.
const OTHERS: &Others = if IS_MIPS {
    MIPS
} else if IS_SPARC {
    SPARC
} else if IS_POWERPC {
    POWERPC
} else {
    &[]
};

/// Returns the name and the text of an error, if Linux has one of that number.
pub(super) fn describe(number: u16) -> Option<(&'static str, &'static str)> {
    if let Some(index) = NUMBERS.iter().position(|&known| known == number) {
        let mut texts = TEXTS.split('\0').skip(2 * index);
        return texts.next().zip(texts.next());
    }
    let other = OTHERS.iter().find(|&&(known, ..)| known == number);
    other.map(|&(_, name, text)| (name, text))
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Errno, MIPS, Others, POWERPC, SPARC, by_architecture, describe};
    use std::collections::BTreeMap;
    use std::format;
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::string::{String, ToString};

    /// The states that are no errors of the kernel.
    const OWN: [&str; 2] = ["FORKED", "EXHAUSTED"];

    type Numbers = BTreeMap<String, u16>;

    /// Returns the table of one architecture.
    fn table(column: usize, others: &Others) -> Numbers {
        let alias = COLUMNS.iter().find(|(name, _)| *name == "EDEADLK");
        let deadlock = alias.map(|&(_, numbers)| ("EDEADLOCK", numbers));
        let columns = COLUMNS.iter().copied().filter(|&(name, _)| !OWN.contains(&name));
        let same = columns
            .chain(deadlock)
            .map(|(name, numbers)| (name.to_string(), *numbers.get(column).unwrap_or(&numbers[0])));
        let others = others.iter().map(|&(number, name, _)| (name.to_string(), number));
        same.chain(others).collect()
    }

    /// Returns the errors in the kernel's headers, by the C preprocessor.
    fn kernel_headers(include: Option<&Path>) -> Option<Numbers> {
        let mut cc = Command::new("cc");
        cc.args(["-E", "-dM", "-x", "c", "-"]);
        if let Some(include) = include {
            cc.arg("-nostdinc").arg("-isystem").arg(include);
        }
        let mut cc = cc.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        cc.stdin.take()?.write_all(b"#include <asm/errno.h>\n").ok()?;
        let output = cc.wait_with_output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).expect("text");
        let macros = text.lines().filter_map(|line| line.strip_prefix("#define E"));
        let macros: BTreeMap<_, _> = macros.filter_map(|line| line.split_once(' ')).collect();
        let number = |value: &str| {
            let value = value.strip_prefix('E').map_or(value, |name| macros[name]);
            value.parse().unwrap_or_else(|_| panic!("{value} is no number"))
        };
        let numbers = macros.iter().map(|(name, value)| (format!("E{name}"), number(value)));
        Some(numbers.filter(|(name, _)| name != "EWOULDBLOCK").collect())
    }

    /// Goal: each architecture has exactly the errors that the kernel's headers define, with their
    /// numbers.
    ///
    /// Method: the preprocessor lists the headers' macros, for this machine and for each other
    /// architecture whose headers are installed (Debian: `linux-libc-dev-mips-cross` and the like).
    #[test]
    fn the_table_has_each_error_of_the_kernels_headers_and_no_other() {
        let trees: [(&str, usize, &Others); 4] = [
            ("mips-linux-gnu", 1, MIPS),
            ("sparc64-linux-gnu", 2, SPARC),
            ("powerpc-linux-gnu", 0, POWERPC),
            ("aarch64-linux-gnu", 0, &[]),
        ];
        for (name, column, others) in trees {
            let include = Path::new("/usr").join(name).join("include");
            if !include.join("asm/errno.h").exists() {
                std::eprintln!("SKIPPED {name}: no headers in {}", include.display());
                continue;
            }
            let headers = kernel_headers(Some(&include)).expect("a C compiler for the headers");
            assert_eq!(table(column, others), headers, "{name}");
        }

        let Some(headers) = kernel_headers(None) else {
            std::eprintln!("SKIPPED this machine: no C compiler, or no kernel headers");
            return;
        };
        for (name, number) in headers {
            let errno = Errno::from_raw(number.into()).expect("a number of an error");
            let (known, _) = describe(number).unwrap_or_else(|| panic!("{name} has no name"));
            assert!(known == name || errno == Errno::EDEADLK, "{number} is {name}, not {known}");
        }
    }

    /// Goal: a number has one name, and a name one number, on each architecture.
    #[test]
    fn no_number_and_no_name_is_there_twice() {
        let rows: [(usize, &Others); 4] = [(0, &[]), (0, POWERPC), (1, MIPS), (2, SPARC)];
        for (column, others) in rows {
            let mut numbers = table(column, others);
            if others.is_empty() {
                numbers.remove("EDEADLOCK");
            }
            assert_eq!(numbers.len(), COLUMNS.len() - OWN.len() + others.len(), "column {column}");
            let names: BTreeMap<_, _> =
                numbers.iter().map(|(name, number)| (number, name)).collect();
            assert_eq!(names.len(), numbers.len(), "column {column}");
        }
    }

    /// Goal: the text that is found for a number is that of its row.
    #[test]
    fn each_error_has_its_own_name_and_text() {
        let native = usize::from(by_architecture(0, 1, 2));
        for &(name, numbers) in COLUMNS {
            let number = *numbers.get(native).unwrap_or(&numbers[0]);
            let (known, text) = describe(number).expect("a row");
            assert_eq!(known, name);
            assert!(!text.is_empty() && text.trim() == text, "{name}: {text:?}");
        }
        for number in [0, 41, 200, 4095, 4098] {
            assert_eq!(describe(number), None, "{number}");
        }
    }
}
