//! The public functions of the library, as its sources declare them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use syn::punctuated::Punctuated;
use syn::{Attribute, Generics, Ident, Item, ItemImpl, Meta, Token, TraitItem, Type, Visibility};

/// `Driver::close` for a function, `Driver: Debug` for a trait's (by `derive`, too), `Driver: Drop`
/// also where the drop is the compiler's, `tokio::driver` for a function without a type. Names
/// begin with a module only where it has public names of its own (`blocking`, `op`, `probe` …),
/// so that files may be moved.
///
/// The traits of plain data are left out: a type that derives `Copy` and borrows nothing holds no
/// lock, no descriptor and no memory.
pub(crate) fn public_functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Sources::default();
    // Layers may be packages of their own.
    for (package, area) in [("", ""), ("raw", ""), ("probe", "probe")] {
        let lib = root.join(package).join("src/lib.rs");
        if lib.is_file() {
            sources.read(&lib, &lib.with_file_name(""), area);
        }
    }
    sources.functions()
}

/// A type or trait that is declared, with its module.
type Name = (String, String);

#[derive(Default)]
struct Sources {
    public: BTreeSet<Name>,
    private: BTreeSet<Name>,
    /// What derives `Copy` and borrows nothing: no lock, no descriptor, no memory is in it.
    plain: BTreeSet<Name>,
    /// What counts only if the type is public, and for implementations of a trait, the trait as
    /// well.
    members: Vec<Member>,
    functions: BTreeSet<String>,
}

struct Member {
    of: Name,
    of_trait: Option<Name>,
    name: String,
}

impl Sources {
    fn functions(mut self) -> BTreeSet<String> {
        let is_public = |name: &Name| self.public.contains(name) || !self.private.contains(name);
        for member in &self.members {
            let counts = match &member.of_trait {
                Some(of_trait) => is_public(of_trait) && !self.plain.contains(&member.of),
                None => true,
            };
            if counts && is_public(&member.of) {
                self.functions.insert(member.name.clone());
            }
        }
        self.functions
    }

    /// A file; the files of its modules are in `folder`.
    fn read(&mut self, path: &Path, folder: &Path, area: &str) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        if is_built(&file.attrs) {
            self.items(&file.items, folder, area);
        }
    }

    fn items(&mut self, items: &[Item], folder: &Path, area: &str) {
        for item in items {
            self.item(item, folder, area);
        }
    }

    fn item(&mut self, item: &Item, folder: &Path, area: &str) {
        match item {
            Item::Mod(module) if is_built(&module.attrs) && !is_hidden(&module.attrs) => {
                let name = module.ident.to_string();
                let is_area = area.is_empty()
                    && ["blocking", "op", "probe", "sys", "tokio"].contains(&&*name);
                let area = if is_area { &name } else { area };
                let folder = folder.join(&name);
                match &module.content {
                    Some((_, items)) => self.items(items, &folder, area),
                    None => {
                        let files = [folder.with_extension("rs"), folder.join("mod.rs")];
                        if let Some(file) = files.iter().find(|file| file.is_file()) {
                            self.read(file, &folder, area);
                        } else {
                            // One file for each architecture, none of them with public names.
                            assert_eq!(name, "arch", "no file of this module in {folder:?}");
                        }
                    }
                }
            }
            Item::Fn(function) if is_built(&function.attrs) && is_public(&function.vis) => {
                self.functions.insert(in_area(area, &function.sig.ident));
            }
            Item::Struct(it) => {
                self.declare_type(area, &it.ident, &it.vis, &it.attrs, &it.generics)
            }
            Item::Enum(it) => self.declare_type(area, &it.ident, &it.vis, &it.attrs, &it.generics),
            Item::Union(it) => self.declare_type(area, &it.ident, &it.vis, &it.attrs, &it.generics),
            Item::Trait(it) => {
                self.declare(area, &it.ident, &it.vis);
                for item in &it.items {
                    if let TraitItem::Fn(function) = item {
                        let of = (area.into(), it.ident.to_string());
                        let name = format!("{}::{}", in_area(area, &it.ident), function.sig.ident);
                        self.members.push(Member { of, of_trait: None, name });
                    }
                }
            }
            Item::Impl(it) if is_built(&it.attrs) => self.implementation(it, area),
            // Its functions read and write the bits of a number.
            Item::Macro(it) if it.ident.as_ref().is_some_and(|name| name == "set_of_flags") => {}
            Item::Macro(it) => {
                let text = it.mac.tokens.to_string();
                assert!(!has_public_function(&text), "a macro declares public functions: {text}");
            }
            _ => {}
        }
    }

    fn declare(&mut self, area: &str, ident: &Ident, visibility: &Visibility) -> Name {
        let name = (area.to_owned(), ident.to_string());
        let names = if is_public(visibility) { &mut self.public } else { &mut self.private };
        names.insert(name.clone());
        name
    }

    fn declare_type(
        &mut self,
        area: &str,
        ident: &Ident,
        visibility: &Visibility,
        attributes: &[Attribute],
        generics: &Generics,
    ) {
        let name = self.declare(area, ident, visibility);
        let mut traits = Vec::new();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
            let parse = Punctuated::<syn::Path, Token![,]>::parse_terminated;
            let derived = attribute.parse_args_with(parse).expect("a list of traits");
            traits.extend(
                derived.iter().map(|it| it.segments.last().expect("a trait").ident.to_string()),
            );
        }
        if !traits.iter().any(|it| it == "Copy") {
            traits.push("Drop".to_owned());
        } else if generics.lifetimes().next().is_none() {
            self.plain.insert(name.clone());
        }
        // These two run no code.
        for of_trait in traits.iter().filter(|&it| it != "Copy" && it != "Eq") {
            let of_trait = (area.to_owned(), of_trait.clone());
            self.trait_of_type(name.clone(), of_trait.clone(), &of_trait.1);
        }
    }

    fn trait_of_type(&mut self, of: Name, of_trait: Name, text: &str) {
        let name = format!("{}: {text}", in_area(&of.0, &of.1));
        self.members.push(Member { of, of_trait: Some(of_trait), name });
    }

    fn implementation(&mut self, it: &ItemImpl, area: &str) {
        let ident = match &*it.self_ty {
            Type::Path(path) => path.path.segments.last().expect("a type").ident.to_string(),
            other => text_of(other),
        };
        let of = (area.to_owned(), ident.clone());
        if let Some((path, _)) = &it.trait_ {
            let last = path.segments.last().expect("a trait");
            let of_trait = (area.to_owned(), last.ident.to_string());
            // `Send`, say, runs no code.
            if !it.items.is_empty() {
                self.trait_of_type(of, of_trait, &text_of(last));
            }
            return;
        }
        for item in &it.items {
            if let syn::ImplItem::Fn(function) = item {
                if is_public(&function.vis) && is_built(&function.attrs) {
                    let name = format!("{}::{}", in_area(area, &ident), function.sig.ident);
                    self.members.push(Member { of: of.clone(), of_trait: None, name });
                }
            }
        }
    }
}

fn in_area(area: &str, name: impl core::fmt::Display) -> String {
    if area.is_empty() { name.to_string() } else { format!("{area}::{name}") }
}

/// Without spaces, so that a name is one word.
fn text_of(tokens: impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}

/// `pub` and nothing less: the lint `unreachable_pub` sees to it that users can name what it is on.
fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| text_of(attribute).contains("doc(hidden)"))
}

fn has_public_function(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let starts = words.iter().enumerate().filter(|(_, word)| **word == "pub");
    let mut declared = starts.map(|(at, _)| words[at + 1..].iter());
    declared.any(|mut rest| {
        let word = rest.find(|word| !["const", "unsafe", "async"].contains(word));
        word == Some(&"fn")
    })
}

/// Whether users ever build an item with these attributes: not in tests and models.
fn is_built(attributes: &[Attribute]) -> bool {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions
        .map(|cfg| cfg.parse_args::<Meta>().expect("a condition"))
        .all(|it| holds(&it) != Some(false))
}

/// `None`: for some users and not for others.
fn holds(condition: &Meta) -> Option<bool> {
    let parts = |list: &syn::MetaList| {
        let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        parts.expect("conditions").iter().map(holds).collect::<Vec<_>>()
    };
    match condition {
        Meta::List(list) if list.path.is_ident("not") => parts(list)[0].map(|holds| !holds),
        Meta::List(list) => {
            let (parts, decisive) = (parts(list), list.path.is_ident("any"));
            if parts.contains(&Some(decisive)) {
                Some(decisive)
            } else if parts.contains(&None) {
                None
            } else {
                Some(!decisive)
            }
        }
        Meta::Path(path) if path.is_ident("test") || path.is_ident("loom") => Some(false),
        Meta::Path(path) => {
            path.get_ident()?.to_string().starts_with("linux_aio_").then_some(false)
        }
        Meta::NameValue(_) => None,
    }
}
