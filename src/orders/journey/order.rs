//! The journey of an order: received, approved, and out of it by parking, cancelling or closing.

use jiff::Timestamp;

use super::{Actor, Reason};

/// Taken in; a person must approve it before anything is done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Which rules ask for a person; never empty.
    pub asks: Vec<Box<str>>,
}

/// Its units may be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// The person, if a rule asked for one.
    pub by: Option<Box<str>>,
}

/// An order that is neither over nor parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    Received(Received),
    Approved(Approved),
}

/// Stopped until a person decides; goes on from where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub reason: Reason,
    pub before: Open,
}

/// Cancelled for good: nothing of it is ever activated afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    pub at: Timestamp,
    pub why: Box<str>,
}

/// Fulfilled before we knew it: kept so that it is not taken in again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub why: Box<str>,
}

/// Where an order is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Open(Open),
    Parked(Parked),
    Cancelled(Cancelled),
    Closed(Closed),
}

/// Proof that an order is approved and neither parked nor cancelled (a condition of P2). Only [`Order::clear`] makes one.
#[derive(Debug)]
pub struct Clear(());

impl Received {
    #[must_use]
    pub fn approve(self, by: &Actor) -> Approved {
        Approved {
            by: Some(by.name().into()),
        }
    }
}

impl Open {
    #[must_use]
    pub fn park(self, reason: Reason) -> Parked {
        Parked {
            reason,
            before: self,
        }
    }
}

impl Cancelled {
    /// A person takes it up again, which approves it.
    #[must_use]
    pub fn resume(self, by: &Actor) -> Approved {
        Approved {
            by: Some(by.name().into()),
        }
    }
}

impl Parked {
    /// Back to where it was.
    #[must_use]
    pub fn unpark(self) -> Open {
        self.before
    }
}

impl Order {
    /// How an order begins: approved if no rule asks for a person.
    #[must_use]
    pub fn receive(asks: Vec<Box<str>>) -> Self {
        Self::Open(if asks.is_empty() {
            Open::Approved(Approved { by: None })
        } else {
            Open::Received(Received { asks })
        })
    }

    /// Whether its units may be worked on and activated.
    #[must_use]
    pub fn clear(&self) -> Option<Clear> {
        match self {
            Self::Open(Open::Approved(_)) => Some(Clear(())),
            Self::Open(Open::Received(_))
            | Self::Parked(_)
            | Self::Cancelled(_)
            | Self::Closed(_) => None,
        }
    }

    /// Ends it; an order that is over stays as it is.
    ///
    /// # Errors
    /// The order itself, if it is cancelled already.
    pub fn cancel(self, at: Timestamp, why: impl Into<Box<str>>) -> Result<Cancelled, Cancelled> {
        match self {
            Self::Open(_) | Self::Parked(_) | Self::Closed(_) => Ok(Cancelled {
                at,
                why: why.into(),
            }),
            Self::Cancelled(cancelled) => Err(cancelled),
        }
    }

    /// Whether nothing more is done for it as a whole.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Open(_) | Self::Parked(_) => false,
            Self::Cancelled(_) | Self::Closed(_) => true,
        }
    }

    /// The state's name, as the store and the audit trail have it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Open(Open::Received(_)) => "received",
            Self::Open(Open::Approved(_)) => "approved",
            Self::Parked(_) => "parked",
            Self::Cancelled(_) => "cancelled",
            Self::Closed(_) => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::journey::Code;

    #[test]
    fn an_order_is_clear_only_when_approved() {
        let asked = Order::receive(vec!["a comment".into()]);
        assert!(asked.clear().is_none());
        let Order::Open(Open::Received(received)) = asked else {
            panic!("a rule asks for a person");
        };
        let approved = Open::Approved(received.approve(&Actor::Person("ann".into())));
        assert!(Order::Open(approved.clone()).clear().is_some());
        let parked = approved.park(Reason::new(Code::UnknownStatus, "status Odd"));
        assert!(Order::Parked(parked.clone()).clear().is_none());
        assert!(Order::Open(parked.unpark()).clear().is_some());
        assert!(Order::receive(Vec::new()).clear().is_some());
    }

    #[test]
    fn an_order_is_cancelled_once() {
        let order = Order::receive(Vec::new());
        let cancelled = order.cancel(Timestamp::UNIX_EPOCH, "status").expect("open");
        assert!(Order::Cancelled(cancelled.clone()).clear().is_none());
        let again = Order::Cancelled(cancelled.clone()).cancel(Timestamp::MAX, "again");
        assert_eq!(again, Err(cancelled));
    }
}
