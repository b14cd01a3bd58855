//! The files of a folder do not depend on each other in circles, but for those that are named here with their reason.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, UseTree};

use super::{files, only_tests};

/// Circles there are: the folder, the files or folders in it, and why. One that is gone must leave this list.
const NAMED: [(&str, &[&str], &str); 13] = [
    (
        "",
        &[
            "access", "config", "dig", "formats", "http", "log_life", "myadmin", "ops", "orders",
            "pipeline", "poll", "registry",
        ],
        "the settings are the parts' own types, and every part reads its own; clients and pages report to ops",
    ),
    (
        "config",
        &["redact", "secret"],
        "a secret is hidden wherever it is shown, and tells what is to be hidden",
    ),
    (
        "formats/avro",
        &["decode", "plan"],
        "decoding follows the plan, and the plan has defaults as decoding writes them",
    ),
    (
        "load",
        &["drive", "produce"],
        "the driver hands messages to an outlet, and the outlet counts for the driver",
    ),
    (
        "load",
        &["native", "plan", "vendor"],
        "a plan draws records of a shape, and a shape is drawn from the plan",
    ),
    (
        "orders",
        &[
            "alarms",
            "calls",
            "desk",
            "executor",
            "export",
            "exports",
            "import",
            "inventory",
            "mail",
            "outbox",
            "page",
            "picking",
            "proof",
            "recall",
            "reconcile",
            "recovery",
            "refused",
            "registrar",
            "round",
            "settings",
            "store",
            "terminations",
            "views",
            "wait",
            "web",
            "worksheet",
        ],
        "the store keeps the types of all parts, which read and write it; the settings are the parts' own types",
    ),
    (
        "pipeline",
        &["consumer", "log_watch"],
        "questions go one way and answers the other",
    ),
    (
        "pipeline",
        &["hold", "partition"],
        "a held message is taken in by the partition and kept by the hold",
    ),
    (
        "record",
        &[
            "decode",
            "diagnostics",
            "draft",
            "flat",
            "judge",
            "mapping",
            "refuse",
            "render",
            "twins",
            "validate",
            "view",
            "work",
        ],
        "one pass over a message whose steps share the decoder's buffers",
    ),
    (
        "sim",
        &[
            "answers",
            "dig",
            "myadmin",
            "partner",
            "request_pipeline",
            "world",
        ],
        "each interface answers from the world, which reports through them",
    ),
    (
        "sim",
        &["cursor", "escapes", "scan"],
        "one scanner in three files",
    ),
    (
        "record/mapping",
        &["cut", "file", "path", "time", "value"],
        "a path's parts are cut as values are, and a value is read by a path",
    ),
    (
        "sim/myadmin",
        &["calls", "probes"],
        "a call that probes is one of the calls",
    ),
];

/// What a file refers to, as paths from the root of the crate.
struct References<'m> {
    /// Every module of the crate, as its path from the root.
    modules: &'m BTreeSet<Vec<String>>,
    /// The file's own module.
    own: Vec<String>,
    found: BTreeSet<Vec<String>>,
}

impl References<'_> {
    /// The module that a path leads into; none if it leaves the crate.
    fn note(&mut self, path: &[String]) {
        let mut path = path.iter().map(String::as_str).peekable();
        let mut at: Vec<String> = match path.peek() {
            Some(&"crate") => {
                path.next();
                Vec::new()
            }
            Some(&"self") => {
                path.next();
                self.own.clone()
            }
            Some(&"super") => self.own.clone(),
            Some(first) => {
                let mut child = self.own.clone();
                child.push((*first).to_owned());
                if !self.modules.contains(&child) {
                    return;
                }
                self.own.clone()
            }
            None => return,
        };
        while path.next_if_eq(&"super").is_some() {
            at.pop();
        }
        for segment in path {
            at.push(segment.to_owned());
            if !self.modules.contains(&at) {
                at.pop();
                break;
            }
        }
        self.found.insert(at);
    }

    fn note_tree(&mut self, before: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(before, &path.tree);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(before, tree);
                }
            }
            UseTree::Name(name) => self.note_last(before, &name.ident),
            UseTree::Rename(rename) => self.note_last(before, &rename.ident),
            UseTree::Glob(_) => self.note(before),
        }
    }

    fn note_last(&mut self, before: &mut Vec<String>, last: &syn::Ident) {
        before.push(last.to_string());
        self.note(before);
        before.pop();
    }
}

fn of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(attribute.parse_args::<syn::Path>(), Ok(path) if path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for References<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // A module within a file is a part of the file.
        if !of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !of_tests(&item.attrs) {
            self.note_tree(&mut Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        let segments: Vec<String> = segments.map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }
}

/// The module of a source file: `src/a/b.rs` and `src/a/b/mod.rs` are both a, b.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// For each folder, which of its files and folders refer to which others of it.
fn graphs() -> BTreeMap<String, Graph> {
    let sources: Vec<(String, String)> = files("src", &[".rs"])
        .into_iter()
        .filter(|(path, _)| !only_tests(path) && path != "src/main.rs")
        .collect();
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|(path, _)| module(path)).collect();
    let mut graphs: BTreeMap<String, Graph> = BTreeMap::new();
    for (path, text) in &sources {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let own = module(path);
        let mut references = References {
            modules: &modules,
            own: own.clone(),
            found: BTreeSet::new(),
        };
        references.visit_file(&file);
        for other in references.found {
            let common = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (own.get(common), other.get(common)) {
                let graph = graphs.entry(own[..common].join("/")).or_default();
                graph.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    graphs
}

/// All that can be reached from a node.
fn reachable<'g>(graph: &'g Graph, from: &'g str) -> BTreeSet<&'g str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(node) = next.pop() {
        for other in graph.get(node).into_iter().flatten() {
            if seen.insert(other.as_str()) {
                next.push(other);
            }
        }
    }
    seen
}

/// The sets of nodes that reach each other.
fn circles(graph: &Graph) -> BTreeSet<Vec<&str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = graph
        .keys()
        .map(|node| (node.as_str(), reachable(graph, node)))
        .collect();
    let mut found = BTreeSet::new();
    for (node, there) in &reach {
        let circle: Vec<&str> = there
            .iter()
            .copied()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(node)))
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found
}

#[test]
fn files_of_a_folder_depend_on_each_other_in_no_circle_but_those_that_are_named() {
    let graphs = graphs();
    assert!(graphs.len() > 20, "{}", graphs.len());
    let mut named: BTreeSet<(&str, Vec<&str>)> = NAMED
        .iter()
        .map(|(folder, members, _)| (*folder, members.to_vec()))
        .collect();
    let mut new = Vec::new();
    for (folder, graph) in &graphs {
        for circle in circles(graph) {
            if !named.remove(&(folder.as_str(), circle.clone())) {
                new.push(format!("{folder}: {}", circle.join(", ")));
            }
        }
    }
    assert!(new.is_empty(), "new circles:\n{}", new.join("\n"));
    assert!(named.is_empty(), "these are no circles any more: {named:?}");
}

#[test]
fn a_circle_is_found() {
    let edge = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    let graph = Graph::from([
        edge("a", "b"),
        edge("b", "c"),
        edge("c", "a"),
        edge("d", "a"),
    ]);
    assert_eq!(circles(&graph), BTreeSet::from([vec!["a", "b", "c"]]));
    let line = Graph::from([edge("a", "b"), edge("b", "c")]);
    assert_eq!(circles(&line), BTreeSet::new());
}
