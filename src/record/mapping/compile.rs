//! A mapping file resolved: paths into slots, names into members and diagnostics, constants checked. Every error names file, line,
//! field and remedy.

mod record;
mod source;

use anyhow::anyhow;
use toml::Spanned;

use self::source::Wants;
use super::file::{self, Each, File};
use super::path::{About, Dots, Path, Start, Step, Tree, written};
use super::plan::{Case, Cases, Device, Level, List, Over, Peer, Source, Switch, ValuePath};
use super::program::Program;
use super::{Mapping, file_error, fingerprint, line_of};
use crate::record::diagnostics::Diagnostics;

/// The list whose innermost elements paths start at; `None`: they start at the message.
type Scope = Option<usize>;

/// The file being compiled, for errors and paths.
struct Site<'a> {
    name: &'a str,
    text: &'a str,
    dots: Dots,
    /// The paths from the message first, then those from the elements of each level of each list.
    trees: Vec<Tree>,
    abouts: Vec<About>,
    peers: Vec<Peer>,
    lists: Vec<(Each, List)>,
}

/// How paths are written, for errors.
const FORMS: &str = "write a.b, a[0].b or a.\"key.with.dots\"";

impl Site<'_> {
    fn wrong(&self, at: usize, field: &str, problem: &str) -> anyhow::Error {
        anyhow!(
            "{}:{}: {field}: {problem}",
            self.name,
            line_of(self.text, at)
        )
    }

    /// The trees that a path may start in, from the message inwards.
    fn chain(&self, scope: Scope) -> Vec<u16> {
        let levels = scope.map_or(&[][..], |list| self.lists[list].1.levels.as_slice());
        std::iter::once(0)
            .chain(levels.iter().map(|level| level.tree))
            .collect()
    }

    fn place(
        &mut self,
        text: &str,
        scope: Scope,
        at: usize,
        field: &str,
    ) -> anyhow::Result<ValuePath> {
        self.try_place(text, scope).map_err(|problem| {
            self.wrong(
                at,
                field,
                &format!("\"{text}\" is no path: {problem}; {FORMS}"),
            )
        })
    }

    fn try_place(&mut self, text: &str, scope: Scope) -> Result<ValuePath, String> {
        let (start, steps) = match Path::parse(text, self.dots)? {
            Path::About(about) => return self.about(about, scope),
            Path::In { start, steps } => (start, steps),
        };
        let chain = self.chain(scope);
        let up = match start {
            Start::Here => 0,
            Start::Up(up) => up,
            Start::Message => chain.len() - 1,
        };
        let Some(&tree) = chain.iter().rev().nth(up) else {
            return Err(format!(
                "`^` leads out of the message: {} of them lead to it",
                chain.len() - 1
            ));
        };
        if tree == 0 {
            match steps.first() {
                None => return Err("it names the whole message, which is no value".to_owned()),
                Some(Step::Index(_) | Step::Select { .. } | Step::Same) => {
                    return Err("a message is an object, so brackets at its beginning never match (of an array of messages each one is mapped by itself)".to_owned());
                }
                Some(Step::Key(_)) => {}
            }
        }
        let Some(same) = steps.iter().position(|step| *step == Step::Same) else {
            return Ok(self.slot(tree, &steps));
        };
        let Some(list) = scope else {
            return Err("`[@]` is the index of an element, and this is not within each".to_owned());
        };
        let (head, tail) = (&steps[..same], &steps[same + 1..]);
        if tail.contains(&Step::Same) {
            return Err("`[@]` may stand once".to_owned());
        }
        let array = self.slot(tree, head);
        self.peers.push(Peer {
            array,
            tail: tail.to_vec(),
            list,
            name: written(&steps),
        });
        Ok(ValuePath::Peer((self.peers.len() - 1) as u16))
    }

    fn slot(&mut self, tree: u16, steps: &[Step]) -> ValuePath {
        let slot = self.trees[usize::from(tree)].slot(steps, written(steps));
        ValuePath::Slot { tree, slot }
    }

    fn about(&mut self, about: About, scope: Scope) -> Result<ValuePath, String> {
        let over = scope
            .and_then(|list| self.lists[list].1.levels.last())
            .map(|level| level.over);
        match (&about, over) {
            (About::Index, None) => {
                return Err("@index is of an element, and this is not within each".to_owned());
            }
            (About::Name, over) if over != Some(Over::Members) => {
                return Err(
                    "@name is of a member, and this is not within an each that ends with {}"
                        .to_owned(),
                );
            }
            _ => {}
        }
        let known = self.abouts.iter().position(|known| *known == about);
        let number = known.unwrap_or_else(|| {
            self.abouts.push(about);
            self.abouts.len() - 1
        });
        Ok(ValuePath::About(number as u16))
    }

    fn places(
        &mut self,
        texts: &[String],
        scope: Scope,
        at: usize,
        field: &str,
    ) -> anyhow::Result<Vec<ValuePath>> {
        texts
            .iter()
            .map(|text| self.place(text, scope, at, field))
            .collect()
    }

    /// The number of this list, which is made when it is new.
    fn list(&mut self, each: &Spanned<Each>, field: &str) -> anyhow::Result<usize> {
        let (at, each) = (each.span().start, each.get_ref());
        if let Some(known) = self.lists.iter().position(|(known, _)| known == each) {
            return Ok(known);
        }
        let number = self.lists.len();
        let list = List {
            levels: Vec::new(),
            split: each.split.clone().unwrap_or_default(),
            own_device: false,
            device: Device::default(),
        };
        if each.split.as_deref() == Some("") {
            return Err(self.wrong(
                at,
                field,
                "split is empty; it is what stands between two elements",
            ));
        }
        self.lists.push((each.clone(), list));
        let levels = levels(&each.path);
        let last = levels.len() - 1;
        for (n, (path, over)) in levels.into_iter().enumerate() {
            let path = if path.is_empty() && n > 0 { "@" } else { path };
            let scope = (n > 0).then_some(number);
            let place = self.place(path, scope, at, field)?;
            if !matches!(place, ValuePath::Slot { .. }) {
                return Err(self.wrong(at, field, "each goes over what is in the message"));
            }
            let over = match &each.split {
                Some(_) if n == last => Over::Parts,
                _ => over,
            };
            self.trees.push(Tree::default());
            let tree = (self.trees.len() - 1) as u16;
            self.lists[number]
                .1
                .levels
                .push(Level { place, over, tree });
        }
        Ok(number)
    }

    fn device(&mut self, device: &file::Device, scope: Scope) -> anyhow::Result<Device> {
        let mut names = |names: &Option<Spanned<file::Names>>, field: &str| {
            let Some(names) = names else {
                return Ok(Vec::new());
            };
            let at = names.span().start;
            let sources = names.get_ref().0.iter();
            let read = sources.map(|source| self.source(source, scope, Wants::Any, at, field));
            read.collect::<anyhow::Result<Vec<Source>>>()
        };
        Ok(Device {
            serial: names(&device.serial, "device.serial")?,
            id: names(&device.id, "device.id")?,
        })
    }
}

/// The levels of `trips[].points`: the path of each and what it goes over. A level without brackets goes over elements.
fn levels(text: &str) -> Vec<(&str, Over)> {
    let mut levels = Vec::new();
    let mut rest = text;
    while let Some((at, over)) = [("[]", Over::Elements), ("{}", Over::Members)]
        .into_iter()
        .filter_map(|(mark, over)| Some((rest.find(mark)?, over)))
        .min_by_key(|(at, _)| *at)
    {
        levels.push((&rest[..at], over));
        rest = &rest[at + 2..];
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    if !rest.is_empty() || levels.is_empty() {
        levels.push((rest, Over::Elements));
    }
    levels
}

/// Compiles a mapping file's text; `name` is used in errors.
pub fn compile(name: &str, text: &str, diagnostics: &Diagnostics) -> anyhow::Result<Mapping> {
    let file: File = toml::from_str(text).map_err(|error| file_error(name, text, &error))?;
    let mut site = Site {
        name,
        text,
        dots: file.paths,
        trees: vec![Tree::default()],
        abouts: Vec::new(),
        peers: Vec::new(),
        lists: Vec::new(),
    };
    if let Some(each) = &file.each {
        site.list(each, "each")?;
    }
    let at = text.find("device").unwrap_or(0);
    let unnamed = file::Device::default();
    let named = file.device.as_ref().unwrap_or(&unnamed);
    // The outputs of a program alone are records, which name their devices.
    let by_program = file.jq.is_some() && file.record.is_empty();
    if by_program && let Some(member) = file.without_tables() {
        return Err(site.wrong(
            text.find(member).unwrap_or(0),
            member,
            "belongs to [[record]] tables, and there are none: the outputs of jq are records already; leave it out, or add the tables",
        ));
    }
    if !by_program && named.serial.is_none() && named.id.is_none() {
        return Err(site.wrong(
            at,
            "device",
            "neither serial nor id; say where the Geotab serial or your device id lies",
        ));
    }
    let of_elements = named.from == file::From::Element;
    let device = if of_elements {
        Device::default()
    } else {
        site.device(named, None)?
    };
    let mut cases = Cases::default();
    let switch_places = match &file.switch {
        None => Vec::new(),
        Some(switch) => {
            for literal in &switch.ignore {
                cases
                    .known
                    .insert(literal.scalar().text().into_owned(), Case::Ignore);
            }
            site.places(
                &switch.path.get_ref().0,
                None,
                switch.path.span().start,
                "switch.path",
            )?
        }
    };
    if file.record.is_empty() && !by_program {
        return Err(site.wrong(
            text.len(),
            "record",
            "none; a mapping needs at least one [[record]], or a jq program that makes records",
        ));
    }
    let mut records = Vec::with_capacity(file.record.len());
    for (number, record) in file.record.iter().enumerate() {
        let compiled = site.record(number + 1, record, &file, &mut cases, diagnostics)?;
        if of_elements && compiled.list.is_none() {
            return Err(site.wrong(
                record.span().start,
                &format!("record[{}]", number + 1),
                "[device] from = \"element\" names the device of an element, and this record is of the message; give it an each",
            ));
        }
        records.push(compiled);
    }
    if of_elements {
        for list in 0..site.lists.len() {
            let device = site.device(named, Some(list))?;
            site.lists[list].1.own_device = true;
            site.lists[list].1.device = device;
        }
    }
    let switch = file.switch.as_ref().map(|switch| Switch {
        places: switch_places,
        cases: cases.known,
        otherwise: switch.otherwise,
    });
    let program = match &file.jq {
        Some(written) => Some(Program::compile(
            name,
            text,
            written,
            by_program.then_some(diagnostics),
        )?),
        None => None,
    };
    Ok(Mapping {
        name: name.to_owned(),
        description: file.description.unwrap_or_default(),
        trees: site.trees,
        abouts: site.abouts,
        peers: site.peers,
        lists: site.lists.into_iter().map(|(_, list)| list).collect(),
        device,
        switch,
        unmatched: file.unmatched,
        records,
        program,
        fingerprint: fingerprint(text),
    })
}
