//! Exports of the store: orders, units, picking list and worksheet as text, for the command and the API alike.

use jiff::Timestamp;

use super::reconcile::fulfil::wished;
use super::settings::Config;
use super::store::read::{Filter, Whole};
use super::store::{Error, Store};
use super::views::{self, WholeShown};
use super::worksheet::{self, Sheet};
use super::{export, picking};

/// Something to take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    Orders,
    Units,
    /// Units to be picked and shipped, as CSV.
    Picking,
    /// The same as a page to print.
    PickingPage,
    /// Data to be keyed into the Partner Fulfillment screen, as CSV.
    Worksheet,
    /// The same as a page to print.
    WorksheetPage,
}

impl Paper {
    /// All of them by the names they go by.
    pub const ALL: [(&'static str, Self); 6] = [
        ("orders", Self::Orders),
        ("units", Self::Units),
        ("picking", Self::Picking),
        ("picking-page", Self::PickingPage),
        ("worksheet", Self::Worksheet),
        ("worksheet-page", Self::WorksheetPage),
    ];

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, paper)| paper)
    }

    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Orders | Self::Units | Self::Picking | Self::Worksheet => {
                "text/csv; charset=utf-8"
            }
            Self::PickingPage | Self::WorksheetPage => "text/html; charset=utf-8",
        }
    }

    /// Its text, as the store is now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn written(
        self,
        store: &Store,
        config: &Config,
        now: Timestamp,
    ) -> Result<String, Error> {
        let wholes = wholes(store).await?;
        let made = format!("made {}", now.strftime("%Y-%m-%d %H:%M UTC"));
        let shown = || {
            wholes
                .iter()
                .map(|(_, shown)| shown.clone())
                .collect::<Vec<_>>()
        };
        let sheets = || {
            let sheets = wholes
                .iter()
                .filter_map(|(whole, shown)| Sheet::of(shown.clone(), wished(whole, config)));
            sheets.collect::<Vec<_>>()
        };
        Ok(match self {
            Self::Orders => export::orders(&shown()),
            Self::Units => {
                let units: Vec<_> = shown().into_iter().flat_map(|whole| whole.units).collect();
                export::units(&units)
            }
            Self::Picking => picking::csv(&picking::open(shown())),
            Self::PickingPage => picking::printed(&picking::open(shown()), &made),
            Self::Worksheet => worksheet::csv(&sheets()),
            Self::WorksheetPage => worksheet::printed(&sheets(), &made),
        })
    }
}

/// All orders with their units, as they are stored and as they are shown.
async fn wholes(store: &Store) -> Result<Vec<(Whole, WholeShown)>, Error> {
    let mut units = store.units_by_order().await?;
    let differ = views::mail_differs(store).await?;
    let rows = store.orders(&Filter::default()).await?;
    let wholes = rows.into_iter().map(|row| {
        let units = units.remove(&row.id).unwrap_or_default();
        let whole = Whole { row, units };
        let shown = WholeShown::of(&whole, &differ);
        (whole, shown)
    });
    Ok(wholes.collect())
}
