//! Fleets as CSV: `device_id,serial,state`.

use std::path::Path;

use anyhow::Context as _;

use super::state;
use crate::registry::Device;

/// Reads `device_id,serial,state` in the order of the header.
pub fn read(path: &Path) -> anyhow::Result<Vec<Device>> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(file);
    let place = |line: u64| format!("{}:{line}", path.display());
    let header = reader.headers().with_context(|| place(1))?.clone();
    anyhow::ensure!(
        !header.is_empty(),
        "{} is empty: its first line names the columns",
        path.display()
    );
    let column = |name: &str| {
        header
            .iter()
            .position(|column| column.trim_start_matches('\u{feff}') == name)
            .with_context(|| format!("{}: no column {name}", place(1)))
    };
    let (id_at, serial_at, state_at) = (column("device_id")?, column("serial")?, column("state")?);
    let mut devices = Vec::new();
    for row in reader.records() {
        let row = row.with_context(|| path.display().to_string())?;
        let place = || place(row.position().map_or(0, csv::Position::line));
        if row.iter().all(str::is_empty) {
            continue;
        }
        anyhow::ensure!(
            row.len() == header.len(),
            "{}: {} columns where the header has {}",
            place(),
            row.len(),
            header.len()
        );
        let cell = |at: usize| row.get(at).unwrap_or_default();
        anyhow::ensure!(!cell(id_at).is_empty(), "{}: device_id is empty", place());
        let state = state(cell(state_at)).map_err(|remedy| {
            anyhow::anyhow!("{}: state \"{}\": {remedy}", place(), cell(state_at))
        })?;
        let device = Device {
            device_id: cell(id_at).into(),
            serial: Some(cell(serial_at))
                .filter(|serial| !serial.is_empty())
                .map(Into::into),
            state,
            order: None,
            since: None,
        };
        let device = device.normal().with_context(place)?;
        devices.push(device.into_owned());
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::registry::State;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fleet.csv");
        std::fs::write(&path, text).expect("writes");
        (dir, path)
    }

    #[test]
    fn csv_columns_come_in_any_order() {
        let (_dir, path) = written("state,device_id,serial\nactive,a,CX0000000001\n\npending,b,\n");
        let devices = read(&path).expect("reads");
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
            let error = format!("{:#}", read(&path).expect_err("refused"));
            assert!(error.contains(says), "{error}");
        }
    }
}
