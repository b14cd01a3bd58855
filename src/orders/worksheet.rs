//! The worksheet: what a person keys into MyAdmin's Partner Fulfillment screen, as CSV and as a page to print.
//!
//! On it are units that left the warehouse and that MyAdmin does not show yet, each with its parcel, and the carrier, numbers and status of
//! the order as MyAdmin is to show them; reading back confirms what was keyed in. Pure: rows in, text out.

use super::store::rows::Shipment;
use super::views::{UnitShown, WholeShown};
use super::{export, page};

/// An order that has something to key in.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// The order, with the units that are to be keyed in.
    pub whole: WholeShown,
    /// Its units that are not cancelled.
    pub of: usize,
    /// Carrier, tracking numbers and status as they are to be keyed in for the order, in MyAdmin's words.
    pub shipment: Option<Shipment>,
}

impl Sheet {
    /// Nothing if it has nothing to key in. `shipment` is what MyAdmin should show of the order.
    #[must_use]
    pub fn of(mut whole: WholeShown, shipment: Option<Shipment>) -> Option<Self> {
        let of = whole.counted().count();
        whole.units.retain(due);
        let going = whole.order.state == "approved" && !whole.units.is_empty();
        going.then_some(Self {
            whole,
            of,
            shipment,
        })
    }

    /// Such as `1 of 2 units`.
    #[must_use]
    pub fn count(&self) -> String {
        let units = if self.of == 1 { "unit" } else { "units" };
        format!("{} of {} {units}", self.whole.units.len(), self.of)
    }
}

/// Whether a unit is to be keyed in.
#[must_use]
pub fn due(unit: &UnitShown) -> bool {
    matches!(unit.state, "shipped" | "reported")
}

/// One line per unit.
#[must_use]
pub fn csv(sheets: &[Sheet]) -> String {
    let header = [
        "order",
        "reference",
        "purchase_order",
        "account",
        "unit",
        "product_code",
        "serial",
        "sim",
        "imei",
        "carrier",
        "tracking",
        "units",
        "order_carrier",
        "order_tracking",
        "order_status",
        "mail_differs",
    ];
    let rows = sheets.iter().flat_map(|sheet| {
        let order = &sheet.whole.order;
        let shipment = sheet.shipment.clone().unwrap_or_default();
        sheet.whole.units.iter().map(move |unit| {
            [
                order.id.clone(),
                order.reference.clone(),
                order.purchase_order.clone(),
                order.account.clone(),
                unit.id.clone(),
                unit.product_code.clone(),
                unit.serial.clone().unwrap_or_default(),
                unit.sim.clone().unwrap_or_default(),
                unit.imei.clone().unwrap_or_default(),
                unit.carrier.clone().unwrap_or_default(),
                unit.tracking.join("; "),
                sheet.count(),
                shipment.carrier.clone(),
                shipment.tracking.clone(),
                shipment.status.clone(),
                sheet.whole.mail_differs.join("; "),
            ]
        })
    });
    export::table(header, rows)
}

/// A page with one section per order; `made` is shown on each.
#[must_use]
pub fn printed(sheets: &[Sheet], made: &str) -> String {
    let mut sections = String::new();
    for sheet in sheets {
        let whole = &sheet.whole;
        page::begin(&mut sections, whole);
        if let Some(shipment) = &sheet.shipment {
            let columns = [
                ("Carrier", ""),
                ("Tracking number", "code"),
                ("Status", ""),
                ("Done", "tick"),
            ];
            let row = vec![
                shipment.carrier.clone(),
                shipment.tracking.clone(),
                shipment.status.clone(),
                String::new(),
            ];
            page::table(&mut sections, "Key in for the order", &columns, [row]);
        }
        let units = whole.units.iter().map(|unit| {
            let mark = |text: &Option<String>| text.clone().unwrap_or_default();
            vec![
                unit.line().to_owned(),
                unit.product_code.clone(),
                mark(&unit.serial),
                mark(&unit.sim),
                mark(&unit.imei),
                mark(&unit.carrier),
                unit.tracking.join(", "),
                String::new(),
            ]
        });
        let columns = [
            ("Line", ""),
            ("Product", ""),
            ("Serial", "code"),
            ("SIM", "code"),
            ("IMEI", "code"),
            ("Carrier", ""),
            ("Tracking number", "code"),
            ("Done", "tick"),
        ];
        page::table(&mut sections, "Key in for each unit", &columns, units);
        page::end(
            &mut sections,
            whole,
            &format!("{} \u{b7} {made}", sheet.count()),
        );
    }
    page::whole(
        "Partner Fulfillment worksheet",
        &sections,
        "Nothing is to be keyed in.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::journey::order::Order;
    use crate::orders::journey::unit::{Assigned, Live, Ordered, Unit};
    use crate::orders::journey::{Needs, Parcel, Serial, Tags};
    use crate::orders::store::rows::{Head, OrderLine, OrderRow, UnitRow};
    use crate::orders::views::OrderShown;
    use jiff::Timestamp;

    fn unit(line: &str, shipped: bool) -> UnitShown {
        let needs = Needs {
            serial: true,
            ..Needs::default()
        };
        let ordered = Ordered {
            tags: Tags {
                imei: Some("350000000000014".into()),
                ..Tags::default()
            },
        };
        let assigned: Assigned = ordered
            .provision(Serial::parse("CX0000000001").expect("a serial"))
            .assign(needs)
            .expect("complete");
        let live = if shipped {
            let parcel = Parcel::new("Post", ["T1", "T2"]).expect("a parcel");
            Live::Shipped(assigned.ship(parcel))
        } else {
            Live::Assigned(assigned)
        };
        UnitShown::from(&UnitRow {
            id: format!("7.{line}"),
            order_id: "7".into(),
            version: 1,
            line: OrderLine {
                id: line.into(),
                product_code: "CTD-100".into(),
                needs,
                attribute: None,
            },
            unit: Unit::Live(live),
            standing: Default::default(),
            replaces: None,
            attempts: 0,
            retry_at: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        })
    }

    fn whole(units: Vec<UnitShown>) -> WholeShown {
        let order = OrderShown::from(&OrderRow {
            id: "7".into(),
            version: 1,
            order: Order::receive(Vec::new()),
            head: Head {
                reference: "SO-7".into(),
                comment: "<script>alert('x')</script> & \"more\"".into(),
                ..Head::default()
            },
            missing: 0,
            reported: None,
            attempts: 0,
            retry_at: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        });
        WholeShown {
            order,
            units,
            mail_differs: Vec::new(),
        }
    }

    fn sheet(units: Vec<UnitShown>) -> Option<Sheet> {
        let shipment = Shipment {
            carrier: "Post AG".into(),
            tracking: "T1, T2".into(),
            status: "PendingFulfillment".into(),
        };
        Sheet::of(whole(units), Some(shipment))
    }

    #[test]
    fn only_what_left_the_warehouse_is_on_the_sheet() {
        let sheets: Vec<Sheet> = [
            vec![unit("1", true), unit("2", false)],
            vec![unit("3", false)],
        ]
        .into_iter()
        .filter_map(sheet)
        .collect();
        assert_eq!(sheets.len(), 1);
        assert_eq!(sheets[0].whole.units.len(), 1);
        let text = csv(&sheets);
        assert_eq!(text.lines().count(), 2, "{text}");
        let wanted = "7,SO-7,,,7.1,CTD-100,CX0000000001,,350000000000014,Post,T1; T2,1 of 2 units,Post AG,\"T1, T2\",PendingFulfillment";
        assert!(text.contains(wanted), "{text}");
        let page = printed(&sheets, "now");
        for wanted in [
            "1 of 2 units",
            "<td>Post AG</td>",
            "PendingFulfillment",
            "<td class=\"code\">T1, T2</td>",
        ] {
            assert!(page.contains(wanted), "{wanted}: {page}");
        }
    }

    /// A replaced device and the one in its place are one device of the order.
    #[test]
    fn a_replaced_device_is_not_counted_beside_the_one_in_its_place() {
        let mut broken = unit("1", true);
        broken.state = "terminated";
        let mut instead = unit("1r1", true);
        instead.replaces = Some(broken.id.clone());
        let mut gone = unit("2", true);
        gone.state = "cancelled";
        let whole = whole(vec![broken, instead, gone, unit("3", false)]);
        assert_eq!(whole.items(), ["2 x CTD-100"]);
        let sheet = Sheet::of(whole, None).expect("something is to be keyed in");
        assert_eq!(sheet.count(), "1 of 2 units");
    }

    #[test]
    fn the_page_is_escaped_and_loads_nothing() {
        let mut sheet = sheet(vec![unit("1", true)]).unwrap();
        sheet.whole.mail_differs = vec!["<b>2 x CTD-100</b>".into()];
        let text = printed(&[sheet], "2026-01-02");
        assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");
        assert!(
            text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;")
        );
        assert!(
            text.contains("Mail says otherwise") && text.contains("&lt;b&gt;2 x CTD-100&lt;/b&gt;")
        );
        for outside in ["http:", "https:", "src=", "url(", "@import", "<link"] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert_eq!(text.matches("<section>").count(), 1);
        assert!(printed(&[], "now").contains("Nothing is to be keyed in"));
    }
}
