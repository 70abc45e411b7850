//! Every system call of the library is listed in `calls.md`, with its way through the simulation.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A call, and the file of the repository that makes it.
type Call = (String, String);

/// The folders whose sources are searched.
const FOLDERS: [&str; 2] = ["src", "raw/src"];

/// Methods of the standard library that make system calls. Methods of this library that have such a
/// name are found, too.
const METHODS: [&str; 8] = [
    "metadata",
    "set_len",
    "sync_all",
    "sync_data",
    "set_permissions",
    "set_times",
    "try_clone",
    "spawn",
];

/// Where the standard library has functions that make system calls.
const MODULES: [&str; 8] = [
    "std::fs::",
    "std::net::",
    "std::os::unix::net::",
    "std::process::",
    "std::thread::",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::io::stdin",
];

/// Functions of these modules that make none.
const HARMLESS: [&str; 6] = [
    "std::fs::File::from",
    "std::fs::OpenOptions::new",
    "std::thread::Builder::new",
    "std::thread::current",
    "std::thread::panicking",
    "std::process::id",
];

/// Traits whose methods make system calls, where a file brings them in.
const TRAITS: [&str; 4] = ["FileExt", "Read", "Write", "Seek"];

/// The files that have the instructions, or the C library's functions in their place. All calls of
/// `raw` go by them.
const STUBS: [&str; 11] = [
    "aarch64.rs",
    "arm.rs",
    "libc.rs",
    "loongarch64.rs",
    "miri.rs",
    "powerpc.rs",
    "riscv.rs",
    "s390x.rs",
    "tsan.rs",
    "x86.rs",
    "x86_64.rs",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources below a folder, without tests and models.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of the folder").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !matches!(name, "tests.rs" | "model.rs") {
            found.push(path);
        }
    }
}

/// Splits a source into words and signs, without comments and the contents of texts.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = source;
    let skip_past = |rest: &str, end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if rest.starts_with("//") {
            skip_past(rest, "\n")
        } else if rest.starts_with("/*") {
            skip_past(rest, "*/")
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            3 + skip_past(raw, "\"#")
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map_or(rest.len(), |at| at + 2)
        } else if first == '\'' {
            // A character in quotes, or a lifetime.
            match rest[1..].char_indices().nth(1) {
                Some((at, '\'')) if !rest[1..].starts_with('\\') => at + 2,
                _ if rest[1..].starts_with('\\') => 2 + skip_past(&rest[3..], "'") + 1,
                _ => 1,
            }
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(rest[..end].into());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".into());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.into());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    without_tests(tokens)
}

/// Leaves out items that are built for tests alone.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const TEST: [&str; 4] = ["#", "[", "cfg", "("];
    let mut left = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test = matches!(&tokens[at..], [a, b, c, d, first, .., _]
            if [a, b, c, d].iter().zip(TEST).all(|(is, test)| *is == test)
                && (first == "test" || first == "all" && tokens.get(at + 6).is_some_and(|it| it == "test")));
        if !is_test {
            left.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        for token in &tokens[at..] {
            at += 1;
            depth += i32::from(token == "{") - i32::from(token == "}");
            if depth == 0 && matches!(token.as_str(), ";" | "}") {
                break;
            }
        }
    }
    left
}

/// Adds the names that a `use` brings in, each with its path.
fn import(tokens: &[String], at: &mut usize, prefix: &str, names: &mut Vec<(String, String)>) {
    let mut path = String::from(prefix);
    let mut last = String::new();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token.as_str() {
            "::" => path += "::",
            "{" => {
                import(tokens, at, &path, names);
                while tokens.get(*at - 1).is_some_and(|token| token == ",") {
                    import(tokens, at, &path, names);
                }
                last.clear();
            }
            "as" => {
                names.push((tokens[*at].clone(), path.clone()));
                *at += 1;
                last.clear();
            }
            "self" => {
                path = path.trim_end_matches("::").into();
                last = path.rsplit("::").next().unwrap_or_default().into();
            }
            "," | "}" | ";" => break,
            word => {
                path += word;
                last = word.into();
            }
        }
    }
    if !last.is_empty() {
        names.push((last, path));
    }
}

/// Finds the calls of a file.
fn calls(source: &str, is_stub: bool) -> Vec<String> {
    let tokens = tokens(source);
    let mut names: Vec<(String, String)> = Vec::new();
    let mut found = Vec::new();
    let mut function = String::new();
    let mut at = 0;
    while at < tokens.len() {
        let word = &tokens[at];
        let before = at.checked_sub(1).map_or("", |before| tokens[before].as_str());
        at += 1;
        if word == "use" {
            let known = names.len();
            import(&tokens, &mut at, "", &mut names);
            let traits = names[known..].iter().map(|(_, path)| path);
            let traits = traits.filter(|path| {
                path.starts_with("std::")
                    && TRAITS.iter().any(|it| path.ends_with(&format!("::{it}")))
            });
            found.extend(traits.cloned());
            continue;
        }
        if word == "fn" {
            function.clone_from(&tokens[at]);
            continue;
        }
        if before == "fn" || before == "::" || !word.starts_with(|c: char| c.is_alphabetic()) {
            continue;
        }
        let mut path = vec![word.as_str()];
        while tokens.get(at).is_some_and(|token| token == "::") && at + 1 < tokens.len() {
            path.push(&tokens[at + 1]);
            at += 2;
        }
        let last = path[path.len() - 1];
        let whole = match names.iter().find(|(name, _)| before != "." && name == path[0]) {
            Some((_, start)) => [&[start.as_str()], &path[1..]].concat().join("::"),
            None => path.join("::"),
        };
        let next = tokens.get(at).map_or("", String::as_str);
        // A function of one of its types is a conversion.
        let is_call = last.starts_with(|c: char| c.is_lowercase())
            && !whole.rsplit("::").nth(1).is_some_and(|it| it.starts_with(char::is_uppercase))
            && (path.len() > 1 || next == "(")
            && !matches!(last, "retry_on_intr" | "page_size");
        let is_raw = last.starts_with("syscall")
            || next == "!" && matches!(last, "asm" | "global_asm")
            || last == "extern" && next == "{";
        let is_of_crate = whole.starts_with("rustix::") && is_call || whole.starts_with("libc::");
        let is_of_std = MODULES.iter().any(|it| whole.starts_with(it));
        if is_stub {
            // The name of the function, which makes the call by its number.
            if next == "(" && (last.starts_with("syscall") || whole.contains("arch::")) {
                found.push(function.clone());
            }
        } else if is_raw || before == "." && next == "(" && METHODS.contains(&last) {
            found.push(last.into());
        } else if before != "."
            && (is_of_crate || next == "(" && is_of_std && !HARMLESS.contains(&whole.as_str()))
        {
            found.push(whole);
        }
    }
    found
}

/// Returns the calls that the sources make.
fn made() -> BTreeSet<Call> {
    let mut made = BTreeSet::new();
    for folder in FOLDERS {
        let mut files = Vec::new();
        sources(&repository().join(folder), &mut files);
        for path in files {
            let source = fs::read_to_string(&path).expect("a source in UTF-8");
            let place = path.strip_prefix(repository()).expect("a file of the repository");
            let place = place.to_str().expect("a name in UTF-8").to_owned();
            let name = place.rsplit('/').next().unwrap_or_default();
            let is_stub = place.starts_with("raw/src/sys");
            if is_stub && STUBS.contains(&name) {
                continue;
            }
            made.extend(calls(&source, is_stub).into_iter().map(|call| (call, place.clone())));
        }
    }
    made
}

/// Returns the calls that the table lists.
fn listed() -> BTreeSet<Call> {
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("calls.md"));
    let table = table.expect("calls.md of this package");
    let mut listed = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(cells.len() == 5 && !cells[3].is_empty(), "a row says what and where: {row}");
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(String::from).collect()
        };
        for call in quoted(cells[1]) {
            listed.extend(quoted(cells[2]).into_iter().map(|place| (call.clone(), place)));
        }
    }
    listed
}

/// Goal: no call bypasses the simulation unnoticed. Method: the table against the sources.
#[test]
fn every_system_call_is_listed_with_its_way() {
    if !repository().join("raw/src").exists() {
        println!("SKIPPED: the sources of the library are not here");
        return;
    }
    let (made, listed) = (made(), listed());
    let new: BTreeSet<&Call> = made.difference(&listed).collect();
    let gone: BTreeSet<&Call> = listed.difference(&made).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "sim/calls.md says of each system call whether the simulation answers it. Not listed: \
         {new:#?}. Not made any more: {gone:#?}"
    );
}

/// Goal: the search finds what it should. Method: a source with one call of each kind.
#[test]
fn calls_of_each_kind_are_found() {
    let source = r#"
        use rustix::event::{PollFd, epoll::{self, create as make}};
        // rustix::fs::commented();
        fn one(file: &File) { rustix::fs::fsync(file); epoll::wait(); make(); file.metadata(); }
        fn two() { let text = "rustix::fs::quoted()"; let c = '"'; unsafe { syscall3(1) } }
        #[cfg(test)]
        mod tests { fn three() { rustix::fs::tested(); } }
        extern "C" fn no_call() {} extern "C" { fn write(fd: i32); }
        fn four() { std::time::Instant::now(); let f = rustix::io::pread; PollFd::new(); }
    "#;
    let found = calls(source, false);
    let expected = [
        "rustix::fs::fsync",
        "rustix::event::epoll::wait",
        "rustix::event::epoll::create",
        "metadata",
        "syscall3",
        "extern",
        "std::time::Instant::now",
        "rustix::io::pread",
    ];
    assert_eq!(found, expected);
    assert_eq!(calls("fn io_submit() { unsafe { syscall3(1, 2) } }", true), ["io_submit"]);
}
