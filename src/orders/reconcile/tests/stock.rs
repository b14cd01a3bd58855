//! Devices from the shelf.

use super::*;

#[test]
fn devices_of_the_shelf_go_to_units_that_have_their_serial() {
    let mut config = config();
    let needs = Needs {
        serial: true,
        imei: true,
        ..Needs::default()
    };
    let with_serial = Unit::Live(Live::Provisioned(Ordered::default().provision(serial(1))));
    let units = [
        Unit::ordered(),
        with_serial.clone(),
        with_serial.clone(),
        with_serial,
    ];
    let units = (1..).zip(units).map(|(n, unit)| {
        let mut row = unit_row(n, unit);
        row.line.needs = needs;
        row
    });
    let mut held = held(order_row("PendingFulfillment"), units.collect());
    let text = b"imei\n350000000000014\n350000000000022\n350000000000030\n";
    held.spares = crate::orders::inventory::read(text, &config.inventory).spares;
    held.used = [(("imei", "350000000000022".into()), "12.1".to_owned())].into();
    assert!(!names(&decide(&View::default(), &held, &config, at(0))).contains(&"stock"));
    config.inventory.auto = true;
    let acts = decide(&View::default(), &held, &config, at(0));
    let given: Vec<(&str, u64)> = acts
        .iter()
        .filter_map(|act| match act {
            Action::Stock { row, spare } => Some((&*row.id, spare.line)),
            _ => None,
        })
        .collect();
    assert_eq!(given, [("77.2", 2), ("77.3", 4)]);
    held.spares = [].into();
    assert_eq!(
        crate::orders::reconcile::stock::short(&held),
        [("CTD-100".to_owned(), 3)].into()
    );
}
