//! What the store gives to take away: orders, units and the worksheet as text, for the command and the API alike.

use jiff::Timestamp;

use super::shown::{self, OrderShown, UnitShown, WholeShown};
use super::store::read::Filter;
use super::store::{Error, Store};
use super::{export, worksheet};

/// Something to take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    Orders,
    Units,
    /// What is to be keyed into the Partner Fulfillment screen, as CSV.
    Worksheet,
    /// The same as a page to print.
    WorksheetPage,
}

impl Paper {
    /// All of them by the names they go by.
    pub const ALL: [(&'static str, Self); 4] = [
        ("orders", Self::Orders),
        ("units", Self::Units),
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
            Self::Orders | Self::Units | Self::Worksheet => "text/csv; charset=utf-8",
            Self::WorksheetPage => "text/html; charset=utf-8",
        }
    }

    /// Its text, as the store is now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn written(self, store: &Store, now: Timestamp) -> Result<String, Error> {
        Ok(match self {
            Self::Orders => {
                let rows = store.orders(&Filter::default()).await?;
                let orders: Vec<OrderShown> = rows.iter().map(OrderShown::from).collect();
                export::orders(&orders)
            }
            Self::Units => {
                let wholes = wholes(store).await?;
                let units: Vec<UnitShown> =
                    wholes.into_iter().flat_map(|whole| whole.units).collect();
                export::units(&units)
            }
            Self::Worksheet => worksheet::csv(&worksheet::open(wholes(store).await?)),
            Self::WorksheetPage => {
                let made = format!("made {}", now.strftime("%Y-%m-%d %H:%M UTC"));
                worksheet::page(&worksheet::open(wholes(store).await?), &made)
            }
        })
    }
}

async fn wholes(store: &Store) -> Result<Vec<WholeShown>, Error> {
    let mut wholes = Vec::new();
    for order in store.orders(&Filter::default()).await? {
        wholes.push(shown::whole(store, &order).await?);
    }
    Ok(wholes)
}
