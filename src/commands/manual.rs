//! `dig-ingest completions` and `dig-ingest man`: what shells and manuals know of the command line, made of the command line itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, console};

/// Name of the program.
const NAME: &str = "dig-ingest";

/// Arguments of `dig-ingest completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest completions bash > /usr/share/bash-completion/completions/dig-ingest
  dig-ingest completions zsh > ~/.zfunc/_dig-ingest
  dig-ingest completions fish > ~/.config/fish/completions/dig-ingest.fish")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// Arguments of `dig-ingest man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest man | man -l -
  dig-ingest man --output /usr/local/share/man/man1")]
pub struct Manual {
    /// Write a page for the program and one for each command into this folder, which is created if it is missing, instead of the
    /// program's page to standard output.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints a script for the shell.
pub fn completions(args: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    console::raw(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// Prints or writes manual pages.
///
/// # Errors
/// A page cannot be written.
pub fn man(args: &Manual) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    match &args.output {
        None => console::raw(&page(&command)?.1),
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
            write(folder, &command)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The file's name and the text of a page.
fn page(command: &Command) -> anyhow::Result<(String, String)> {
    let man = clap_mangen::Man::new(command.clone());
    let (name, mut page) = (man.get_filename(), Vec::new());
    man.render(&mut page)
        .with_context(|| format!("cannot make the page {name}"))?;
    Ok((name, String::from_utf8_lossy(&page).into_owned()))
}

fn write(folder: &Path, command: &Command) -> anyhow::Result<()> {
    let (name, page) = page(command)?;
    let file = folder.join(name);
    std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    let commands = command.get_subcommands();
    for inner in commands.filter(|inner| inner.get_name() != "help") {
        write(folder, inner)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn each(path: &str, command: &Command, look: &mut impl FnMut(&str, &Command)) {
        look(path, command);
        let commands = command.get_subcommands();
        for inner in commands.filter(|inner| inner.get_name() != "help") {
            each(&format!("{path} {}", inner.get_name()), inner, look);
        }
    }

    #[test]
    fn every_argument_has_a_description() {
        let mut bare = Vec::new();
        each(NAME, &Cli::command(), &mut |path, command| {
            let without = command
                .get_arguments()
                .filter(|arg| arg.get_help().is_none());
            bare.extend(without.map(|arg| format!("{path}: {}", arg.get_id())));
            if command.get_about().is_none() {
                bare.push(path.to_owned());
            }
        });
        assert!(
            bare.is_empty(),
            "without a description:\n{}",
            bare.join("\n")
        );
    }

    /// The words of a line of the shell: blanks separate, quotes join, and what follows a redirection or a pipe is none of ours.
    fn words(line: &str) -> Vec<String> {
        let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (quote, c) {
                (Some(q), c) if q == c => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, '|' | '>' | '<' | ';' | '&') => break,
                (None, ' ') => all.extend(word.take()),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        all.extend(word);
        all
    }

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        let (mut wrong, mut found) = (Vec::new(), 0);
        each(NAME, &Cli::command(), &mut |path, command| {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let joined = help.replace("\\\n", " ");
            for line in joined.lines().map(str::trim) {
                // A line may begin with variables.
                let all = words(line);
                let from = all.iter().position(|word| !word.contains('=')).unwrap_or(0);
                if all.get(from).map(String::as_str) != Some(NAME) || !line.starts_with(&all[0]) {
                    continue;
                }
                found += 1;
                if let Err(error) = Cli::try_parse_from(&all[from..]) {
                    wrong.push(format!("{path}: {line}\n{error}"));
                }
            }
        });
        assert!(found > 30, "{found} examples");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Help is wrapped at 100 columns (`max_term_width`), and a command that is broken there cannot be pasted.
    #[test]
    fn no_line_of_an_example_is_so_long_that_help_breaks_it() {
        let (mut long, mut found) = (Vec::new(), 0);
        each(NAME, &Cli::command(), &mut |path, command| {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with("  ")) {
                found += 1;
                if line.chars().count() > 98 {
                    long.push(format!("{path}: {line}"));
                }
            }
        });
        assert!(found > 60, "{found} lines of examples");
        assert!(
            long.is_empty(),
            "longer than 98 columns; end the line with \" \\\" and indent the next one:\n{}",
            long.join("\n")
        );
    }

    #[test]
    fn there_is_a_page_for_each_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("man/man1");
        let args = Manual {
            output: Some(folder.clone()),
        };
        man(&args).expect("pages");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a page");
        assert!(read("dig-ingest.1").contains("dig\\-ingest"));
        let page = read("dig-ingest-offsets-set.1");
        assert!(
            page.contains("allow\\-skip") && page.contains("Examples"),
            "{page}"
        );
    }
}
