//! Each option of a program is in its help text, its manual page and the completions, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAMS: [(&str, &str); 3] = [
    ("aio-probe", env!("CARGO_BIN_EXE_aio-probe")),
    ("aio-copy", env!("CARGO_BIN_EXE_aio-copy")),
    ("aio-bench", env!("CARGO_BIN_EXE_aio-bench")),
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The options of the help text, without their dashes.
fn options(program: &str) -> BTreeSet<String> {
    let output = Command::new(program).arg("-h").stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let (_, list) = help.split_once("Options:").expect("a list of options");
    let (list, _) = list.split_once("Exit code").unwrap_or((list, ""));
    let (list, _) = list.split_once("Example").unwrap_or((list, ""));
    let words = list.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    words.map(str::to_owned).collect()
}

/// Goal: a manual page describes each option, and only options that the program has.
#[test]
fn the_manual_pages_have_each_option_of_the_help_text() {
    for (name, program) in PROGRAMS {
        let page = read(&format!("man/{name}.1"));
        let described = page.lines().filter_map(|line| {
            let flags = line.strip_prefix(".It Fl ")?;
            let long = flags.split_whitespace().find_map(|word| word.strip_prefix('-'))?;
            Some(long.to_owned())
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), options(program), "{name}");
    }
}

/// Goal: the completions of each shell know each option.
#[test]
fn the_completions_have_each_option_of_the_help_text() {
    let (bash, zsh) = (read("completions/aio-tools.bash"), read("completions/_aio-tools"));
    let fish = read("completions/aio-tools.fish");
    for (name, program) in PROGRAMS {
        let of_bash = bash.lines().find(|line| line.contains(&format!("*{name}) options=")));
        let of_bash = of_bash.unwrap_or_else(|| panic!("{name}"));
        let (_, of_zsh) = zsh.split_once(&format!("\n{name})")).expect("its case");
        let (of_zsh, _) = of_zsh.split_once(";;").expect("its end");
        for option in options(program) {
            assert!(of_bash.contains(&format!("--{option}")), "bash, {name}: {option}");
            let general = ["help", "version"].contains(&&*option);
            let of_zsh = if general { &*zsh } else { of_zsh };
            assert!(of_zsh.contains(&format!("--{option}")), "zsh, {name}: {option}");
            let subject = if general { "$program" } else { name };
            let of_fish = fish.lines().any(|line| {
                line.contains(&format!("complete -c {subject} "))
                    && line.contains(&format!("-l {option} "))
            });
            assert!(of_fish, "fish, {name}: {option}");
        }
    }
}
