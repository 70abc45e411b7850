//! Programs that must not compile, and why, and programs that must. The types are the argument that
//! no safe call can cause undefined behaviour; each program here is an attempt to break it.
//!
//! A program of `compile_fail` says in its first line with which error it must fail, by code or,
//! where the compiler gives no code, by text; and a comment `//~` marks the line at which. Nothing
//! else of the compiler's output is compared, so that a new compiler's words do not matter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An error of the compiler: the line, and `E0499` or the text.
type Found = (usize, String);

/// The programs of the folders `compile_fail` and `compile_pass`, by folder and name.
fn programs() -> BTreeMap<(&'static str, String), String> {
    let mut programs = BTreeMap::new();
    for folder in ["compile_fail", "compile_pass"] {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
        for entry in std::fs::read_dir(&place).expect("the folder of programs") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                let program = std::fs::read_to_string(path).expect("a program");
                programs.insert((folder, name), program);
            }
        }
        let count = programs.keys().filter(|(of, _)| *of == folder).count();
        assert!(count > 3, "{}: {count} programs", place.display());
    }
    programs
}

/// With which error a program must fail, as its first line says.
fn expected(program: &str) -> &str {
    let first = program.lines().next().unwrap_or_default();
    let expected = first.strip_prefix("//! ").and_then(|first| first.split_once(": "));
    expected.expect("a first line `//! error: why`").0
}

/// A text goes on with the names of lifetimes.
fn is_code(error: &str) -> bool {
    error.starts_with('E') && !error.contains(' ')
}

/// Makes one package of the programs, in a place of its own. Those that must fail with the same
/// error are modules of one binary, since the compiler finds all of these in one run.
fn package(programs: &BTreeMap<(&str, String), String>) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile");
    let source = place.join("src/bin");
    let _ = std::fs::remove_dir_all(&source);
    std::fs::create_dir_all(&source).expect("a directory");
    let manifest = format!(
        "[package]\nname = \"compile\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nlinux-aio = {{ path = {root:?} }}\n\n[workspace]\n\n\
         [profile.dev]\nincremental = false\n"
    );
    std::fs::write(place.join("Cargo.toml"), manifest).expect("the manifest");
    // The versions that the crate itself is tested with, which are there already.
    if let Ok(lock) = std::fs::read(root.join("Cargo.lock")) {
        std::fs::write(place.join("Cargo.lock"), lock).expect("the versions");
    }
    let mut binaries: BTreeMap<PathBuf, String> = BTreeMap::new();
    for ((folder, name), program) in programs {
        if *folder == "compile_pass" {
            std::fs::write(source.join(format!("{name}.rs")), program).expect("a program");
            continue;
        }
        let error = expected(program);
        let binary = source.join(if is_code(error) { error } else { "without_a_code" });
        std::fs::create_dir_all(&binary).expect("a directory");
        std::fs::write(binary.join(format!("{name}.rs")), program).expect("a program");
        let main = binaries.entry(binary.join("main.rs"));
        let main = main.or_insert_with(|| "#![allow(dead_code)]\nfn main() {}\n".to_owned());
        *main += &format!("mod {name};\n");
    }
    for (main, text) in binaries {
        std::fs::write(main, text).expect("a program");
    }
    place
}

/// What the compiler says about each program.
fn check(place: &Path) -> BTreeMap<String, Vec<Found>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["check", "--offline", "--bins", "--keep-going", "--message-format=short"])
        .arg("--manifest-path")
        .arg(place.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(place.join("target"))
        // Where the crate's own settings of cargo are found.
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo");
    let text = String::from_utf8_lossy(&output.stderr);
    let mut found: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for line in text.lines() {
        let Some((place, error)) = line.split_once(": error") else { continue };
        let mut parts = place.rsplitn(3, ':');
        let (_column, line, path) = (parts.next(), parts.next(), parts.next());
        let (Some(line), Some(path)) = (line.and_then(|line| line.parse().ok()), path) else {
            continue;
        };
        let path = Path::new(path);
        assert!(path.components().any(|part| part.as_os_str() == "bin"), "not a program: {text}");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let error = match error.strip_prefix('[').and_then(|code| code.split_once(']')) {
            Some((code, _)) => code.to_owned(),
            None => error.trim_start_matches([':', ' ']).to_owned(),
        };
        found.entry(name).or_default().push((line, error));
    }
    // The package was looked at, whether or not each program is right.
    assert!(output.status.success() != text.contains("could not compile"), "{text}");
    assert!(output.status.success() || !found.is_empty(), "{text}");
    found
}

/// Goal: each attempt is refused, for the reason that it is about, where it is made; and what a
/// user may rightly write compiles. Method: the compiler's errors are compared with the first line
/// and the mark of each program.
#[test]
fn what_must_not_compile_does_not_for_its_own_reason_and_the_rest_does() {
    let programs = programs();
    let found = check(&package(&programs));
    let mut wrong = Vec::new();
    for ((folder, name), program) in &programs {
        let errors = found.get(name).map_or(&[][..], Vec::as_slice);
        if *folder == "compile_pass" {
            if !errors.is_empty() {
                wrong.push(format!("{name}: must compile, found {errors:?}"));
            }
            continue;
        }
        let expected = expected(program);
        let marked = program.lines().position(|line| line.contains("//~"));
        let marked = marked.expect("a mark `//~`") + 1;
        let fits = |error: &str| match is_code(expected) {
            true => error == expected,
            false => error.starts_with(expected),
        };
        // An older compiler may say more than one thing of the marked line: 1.85 adds E0503.
        let all = errors.iter().all(|(line, error)| fits(error) || *line == marked);
        if !all || !errors.iter().any(|(line, error)| fits(error) && *line == marked) {
            wrong.push(format!("{name}: expected {expected} in line {marked}, found {errors:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
