//! `dig-ingest devices`: the device registry file, imported, listed and asked.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::Report;
use crate::config::ConfigArgs;
use crate::registry::{Device, Snapshot, State, file};

/// Arguments of `dig-ingest devices`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest devices import fleet.csv --set registry.file=devices.ndjson
  dig-ingest devices list --state pending --config job.toml
  dig-ingest devices show 356938035643809 --config job.toml

A CSV file has the header device_id,serial,state (any order; serial may be empty); any other file holds one JSON object
per line with the same members. state is pending, active or terminated.")]
pub struct Args {
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    settings: ConfigArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t, global = true)]
    report: Report,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Add the file's devices to the registry; a device id that is known already is replaced.
    #[command(after_help = "Examples:
  dig-ingest devices import fleet.csv --set registry.file=devices.ndjson
  dig-ingest devices import fleet.ndjson --replace --config job.toml")]
    Import {
        file: PathBuf,
        /// Forget every device that the file does not name.
        #[arg(long)]
        replace: bool,
    },
    /// Print the devices, one JSON object per line.
    #[command(after_help = "Examples:
  dig-ingest devices list --config job.toml
  dig-ingest devices list --state terminated --config job.toml")]
    List {
        /// Only those in this state.
        #[arg(long, value_parser = state)]
        state: Option<State>,
    },
    /// Print one device, by device id or serial; exit 1 if it is not known.
    #[command(after_help = "Examples:
  dig-ingest devices show 356938035643809 --config job.toml")]
    Show { name: String },
}

fn state(text: &str) -> Result<State, String> {
    [State::Pending, State::Active, State::Terminated]
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| "use pending, active or terminated".to_owned())
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read or written, a line that is no device, two devices with one serial.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings.load()?;
    let registry = settings.registry.file;
    anyhow::ensure!(
        !registry.as_os_str().is_empty(),
        "registry.file is not set: name the registry's file in the settings or with --set registry.file=FILE"
    );
    let known = if registry.exists() {
        file::read(&registry)?
    } else {
        Vec::new()
    };
    match args.act {
        Act::Import { file, replace } => import(&registry, known, &file, replace, args.report),
        Act::List { state } => {
            let chosen = known
                .iter()
                .filter(|device| state.is_none_or(|state| device.state == state));
            let mut count = 0u64;
            for device in chosen {
                println!("{}", serde_json::to_string(device)?);
                count += 1;
            }
            if args.report == Report::Json {
                println!("{}", serde_json::json!({ "devices": count }));
            }
            Ok(ExitCode::SUCCESS)
        }
        Act::Show { name } => {
            let found = known.iter().find(|device| {
                *device.device_id == *name || device.serial.as_deref() == Some(name.as_str())
            });
            match found {
                Some(device) => {
                    println!("{}", serde_json::to_string(device)?);
                    Ok(ExitCode::SUCCESS)
                }
                None => {
                    eprintln!(
                        "{name} is no device id and no serial of {}",
                        registry.display()
                    );
                    Ok(ExitCode::FAILURE)
                }
            }
        }
    }
}

fn import(
    registry: &Path,
    known: Vec<Device>,
    from: &Path,
    replace: bool,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let is_csv = from
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let new = if is_csv {
        read_csv(from)?
    } else {
        file::read(from)?
    };
    let (before, imported) = (known.len(), new.len());
    let mut all = if replace { Vec::new() } else { known };
    all.extend(new);
    // The snapshot keeps the last entry of a device id and refuses a serial claimed twice.
    let snapshot =
        Snapshot::new(all).with_context(|| format!("{}: nothing was imported", from.display()))?;
    file::replace(registry, snapshot.devices())?;
    let after = snapshot.devices().len();
    match report {
        Report::Json => println!(
            "{}",
            serde_json::json!({ "imported": imported, "before": before, "devices": after })
        ),
        Report::Text => eprintln!(
            "{imported} devices imported into {}: {before} before, {after} now",
            registry.display()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads `device_id,serial,state` in the order of the header; no quoting, as none of the three needs it.
fn read_csv(path: &Path) -> anyhow::Result<Vec<Device>> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut lines = std::io::BufReader::new(file).lines().enumerate();
    let place = |index: usize| format!("{}:{}", path.display(), index + 1);
    let (_, header) = lines.next().with_context(|| {
        format!(
            "{} is empty: its first line names the columns",
            path.display()
        )
    })?;
    let header = header.with_context(|| place(0))?;
    let columns: Vec<&str> = header
        .trim_start_matches('\u{feff}')
        .split(',')
        .map(str::trim)
        .collect();
    let column = |name: &str| {
        columns
            .iter()
            .position(|column| *column == name)
            .with_context(|| format!("{}: no column {name}", place(0)))
    };
    let (id_at, serial_at, state_at) = (column("device_id")?, column("serial")?, column("state")?);
    let mut devices = Vec::new();
    for (index, line) in lines {
        let line = line.with_context(|| place(index))?;
        if line.trim().is_empty() {
            continue;
        }
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        anyhow::ensure!(
            cells.len() == columns.len(),
            "{}: {} columns where the header has {}",
            place(index),
            cells.len(),
            columns.len()
        );
        anyhow::ensure!(
            !cells[id_at].is_empty(),
            "{}: device_id is empty",
            place(index)
        );
        let state = state(cells[state_at]).map_err(|remedy| {
            anyhow::anyhow!("{}: state \"{}\": {remedy}", place(index), cells[state_at])
        })?;
        devices.push(Device {
            device_id: cells[id_at].into(),
            serial: Some(cells[serial_at])
                .filter(|serial| !serial.is_empty())
                .map(Into::into),
            state,
        });
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fleet.csv");
        std::fs::write(&path, text).expect("writes");
        (dir, path)
    }

    #[test]
    fn csv_columns_come_in_any_order() {
        let (_dir, path) = written("state,device_id,serial\nactive,a,CX0000000001\n\npending,b,\n");
        let devices = read_csv(&path).expect("reads");
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].serial.as_deref(), Some("CX0000000001"));
        assert_eq!(
            (devices[1].state, &devices[1].serial),
            (State::Pending, &None)
        );
    }

    #[test]
    fn a_bad_csv_names_the_place_and_the_remedy() {
        for (text, says) in [
            ("", "is empty"),
            ("device_id,state\n", "no column serial"),
            (
                "device_id,serial,state\na,,asleep\n",
                ":2: state \"asleep\": use pending",
            ),
            ("device_id,serial,state\na,\n", ":2: 2 columns"),
            (
                "device_id,serial,state\n,x,active\n",
                ":2: device_id is empty",
            ),
        ] {
            let (_dir, path) = written(text);
            let error = format!("{:#}", read_csv(&path).expect_err("refused"));
            assert!(error.contains(says), "{error}");
        }
    }
}
