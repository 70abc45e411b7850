//! The floors of src/: each module says in its header on which it stands, names none above it, and
//! inline assembly is on floor 1 alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file of src/ as the check sees it.
struct Module {
    /// `context::reaper` for src/context/reaper.rs.
    name: String,
    floor: Option<u32>,
    /// The code: without comments, and without the content of text in quotes.
    code: String,
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of src/") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn modules() -> BTreeMap<String, Module> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    files_below(&src, &mut files);
    assert!(files.len() > 20, "{} files in src/", files.len());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a file of src/");
            let inside = path.strip_prefix(&src).expect("below src/").with_extension("");
            let parts: Vec<_> =
                inside.iter().map(|part| part.to_str().expect("a name of text")).collect();
            let name = parts.join("::");
            let floor = stated_floor(&text);
            (name.clone(), Module { name, floor, code: code_of(&text) })
        })
        .collect()
}

/// The number in `//! Floor 2: …` or `//! Floor 2, with an allocator: …`, the file's first line.
fn stated_floor(text: &str) -> Option<u32> {
    let header = text.lines().next()?.strip_prefix("//! Floor ")?;
    let number: String = header.chars().take_while(char::is_ascii_digit).collect();
    number.parse().ok()
}

/// The text without comments and without what stands in quotes, on the lines on which it was.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut in_quotes = false;
        let mut previous = ' ';
        for (at, character) in line.char_indices() {
            if !in_quotes && line[at..].starts_with("//") {
                break;
            }
            if character == '"' && previous != '\\' && previous != '\'' {
                in_quotes = !in_quotes;
            }
            if !in_quotes {
                code.push(character);
            }
            previous = if previous == '\\' { ' ' } else { character };
        }
        code.push('\n');
    }
    code
}

/// What the tests at a file's end name is no matter of floors.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod tests").next().unwrap_or(code)
}

/// Every path that starts with `crate::`, `super::` or `self::`, braces opened up.
fn named_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if !before.is_alphanumeric() && before != '_' && before != ':' {
                expand(start.trim_end_matches("::"), &code[at + start.len()..], &mut paths);
            }
        }
    }
    paths
}

/// Appends `prefix::rest` for the path or the braces that `rest` starts with; returns what is left.
fn expand<'c>(prefix: &str, rest: &'c str, paths: &mut Vec<String>) -> &'c str {
    let rest = rest.trim_start();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            inside = expand(prefix, inside, paths).trim_start();
            match inside.chars().next() {
                Some(',') => inside = &inside[1..],
                Some('}') => return &inside[1..],
                _ => return inside,
            }
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let path = format!("{prefix}::{}", &rest[..end]);
    let after = &rest[end..];
    match after.strip_prefix("::") {
        Some(more) => expand(&path, more, paths),
        None => {
            if end > 0 {
                paths.push(path);
            }
            // `as name`
            let comma = after.find([',', '}', ';', '\n']).unwrap_or(after.len());
            &after[comma..]
        }
    }
}

/// Where the names of the crate's root come from: `pub use errno::Errno` says that it is errno's.
fn names_of_the_root(modules: &BTreeMap<String, Module>) -> BTreeMap<String, String> {
    let mut paths = Vec::new();
    for (at, _) in modules["lib"].code.match_indices("pub use ") {
        let statement = &modules["lib"].code[at + "pub use ".len()..];
        expand("crate", statement, &mut paths);
    }
    let pairs = paths.iter().filter_map(|path| {
        let path = path.strip_prefix("crate::")?;
        let (module, name) = path.rsplit_once("::")?;
        Some((name.to_owned(), module.to_owned()))
    });
    pairs.collect()
}

/// The module that a path in `of` leads to, if it is one of this crate's.
fn target<'m>(
    path: &str,
    of: &Module,
    modules: &'m BTreeMap<String, Module>,
    root: &BTreeMap<String, String>,
) -> Option<&'m Module> {
    let mut parts: Vec<&str> = path.split("::").collect();
    let mut place: Vec<&str> =
        if of.name == "lib" { vec![] } else { of.name.split("::").collect() };
    if parts[0] == "crate" {
        place.clear();
    }
    while parts.first() == Some(&"super") {
        place.pop();
        parts.remove(0);
    }
    parts.retain(|part| *part != "crate" && *part != "self");
    if place.is_empty() {
        if let Some(module) = parts.first().and_then(|name| root.get(*name)) {
            let module = module.split("::").next().unwrap_or(module);
            return modules.get(module);
        }
    }
    let full: Vec<&str> = place.into_iter().chain(parts).collect();
    (1..=full.len()).rev().find_map(|length| modules.get(&full[..length].join("::")))
}

/// The floor of a module: its own header's, or that of the module it is a part of, for the files
/// below `sys` that are one architecture each.
fn floor_of(module: &Module, modules: &BTreeMap<String, Module>) -> Option<u32> {
    let parent = module.name.rsplit_once("::").map(|(parent, _)| &modules[parent]);
    module.floor.or_else(|| parent.filter(|parent| parent.name == "sys").and_then(|p| p.floor))
}

/// Goal: the header of each file says its floor. Method: the first line of each but the root.
#[test]
fn every_module_states_its_floor() {
    let modules = modules();
    let silent = modules.values().filter(|module| module.name != "lib");
    let silent: Vec<&str> = silent
        .filter(|module| !floor_of(module, &modules).is_some_and(|floor| (1..=5).contains(&floor)))
        .map(|module| module.name.as_str())
        .collect();
    assert!(silent.is_empty(), "no `//! Floor N` in the first line of {silent:?}");
}

/// Goal: no module names one of a higher floor, by its own path or by what the root re-exports.
/// Method: every `crate::`, `super::` and `self::` path in the code is followed to its module.
#[test]
fn no_module_names_a_higher_floor() {
    let modules = modules();
    let root = names_of_the_root(&modules);
    assert_eq!(root.get("Errno").map(String::as_str), Some("errno"), "{root:?}");
    let (mut followed, mut wrong) = (0, Vec::new());
    for module in modules.values().filter(|module| module.name != "lib") {
        let own = floor_of(module, &modules);
        for path in named_paths(without_tests(&module.code)) {
            let Some(named) = target(&path, module, &modules, &root) else { continue };
            if named.name == "lib" || named.name == module.name {
                continue;
            }
            followed += 1;
            if floor_of(named, &modules) > own {
                wrong.push(format!("{} names {path}, of {}", module.name, named.name));
            }
        }
    }
    assert!(followed > 50, "only {followed} paths were followed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Goal: the floors that need neither allocator nor std do not name them. Method: no `alloc::`,
/// `std::` or `rustix::` in the code of floors 1 and 2 but behind a feature.
#[test]
fn the_lower_floors_name_no_crate_of_the_upper() {
    let modules = modules();
    let mut wrong = Vec::new();
    for module in modules.values() {
        if floor_of(module, &modules).is_none_or(|floor| floor > 2) {
            continue;
        }
        let code = without_tests(&module.code);
        if code.contains("#![cfg(feature =") {
            continue;
        }
        let mut behind_a_feature = false;
        for (number, line) in (1..).zip(code.lines()) {
            // The item behind `#[cfg(feature = …)]` ends at the first line that is not indented.
            if line.starts_with("#[cfg(feature") {
                behind_a_feature = true;
            } else if behind_a_feature && (line.starts_with('}') || line.ends_with(';')) {
                behind_a_feature = line.starts_with(' ');
            } else if !behind_a_feature && !line.trim_start().starts_with("#[cfg(feature") {
                for name in ["alloc::", "std::", "rustix::"] {
                    let mut at = line.match_indices(name).map(|(at, _)| at);
                    if at.any(|at| at == 0 || !line.as_bytes()[at - 1].is_ascii_alphanumeric()) {
                        wrong.push(format!("{}, line {number}: {name}", module.name));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Goal: inline assembly is in src/sys/ and nowhere else. Method: the macros' names in the code.
#[test]
fn inline_assembly_is_below_sys_alone() {
    let modules = modules();
    let has_assembly = |module: &&Module| {
        ["asm!", "global_asm!", "naked_asm!"].iter().any(|name| module.code.contains(name))
    };
    let with: Vec<&str> =
        modules.values().filter(has_assembly).map(|module| module.name.as_str()).collect();
    assert!(with.iter().all(|name| name.starts_with("sys::")), "{with:?}");
    assert!(with.len() > 5, "the check sees assembly in {with:?} only");
}

/// Goal: the check itself sees what it is for. Method: small modules with each offence.
#[test]
fn the_check_sees_what_it_is_for() {
    let module = |name: &str, text: &str| {
        let (name, floor, code) = (name.to_owned(), stated_floor(text), code_of(text));
        (name.clone(), Module { name, floor, code })
    };
    let modules = BTreeMap::from([
        module("lib", "pub use low::Low;\npub use high::{High, Other as Another};"),
        module("low", "//! Floor 2: low.\nuse crate::{abi, High};\nfn f() { crate::high::g() }"),
        module("low::part", "//! Floor 2, with more: a part.\nuse super::super::high::High;"),
        module("high", "//! Floor 3: high.\nuse crate::Low; // crate::nothing\n\"crate::no\""),
    ]);
    let root = names_of_the_root(&modules);
    let leads_to = |name: &str| -> Vec<&str> {
        named_paths(&modules[name].code)
            .iter()
            .filter_map(|path| target(path, &modules[name], &modules, &root))
            .map(|module| module.name.as_str())
            .collect()
    };
    assert_eq!(leads_to("low"), ["high", "high"]);
    assert_eq!(leads_to("low::part"), ["high"]);
    assert_eq!(leads_to("high"), ["low"]);
    assert_eq!(stated_floor("//! The floor is missing.\n//! Floor 2: too late"), None);
}
