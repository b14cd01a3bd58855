use serde_json::json;

use super::*;

fn given() -> Value {
    json!({"orderHeaderId": 4711, "account": {"accountId": "PART01", "id": "12"}, "orderDate": "2026-03-01T10:00:00Z",
        "shipmentStatus": "PendingFulfillment", "comment": "", "validated": true, "id": "90071992547",
        "shippingContact": {"name": "A. Person", "ZIPCODE": "1234 AB", "telephone1": 5551234},
        "purchaseOrderNumber": "PO-1", "shipmentReference": null, "somethingNew": {"deep": [1, 2]}})
}

#[test]
fn an_order_with_ids_as_text_and_members_nobody_knows() {
    let order = order(given()).unwrap();
    assert_eq!(
        (order.id, order.order_header_id),
        (90_071_992_547, Some(4711))
    );
    assert_eq!(order.erp_no(), "PART01");
    assert_eq!(order.account.as_ref().unwrap().id, Some(12));
    let contact = order.shipping_contact.as_ref().unwrap();
    assert_eq!(
        (contact.zip_code.as_str(), contact.telephone1.as_str()),
        ("1234 AB", "5551234")
    );
    assert_eq!(
        (
            order.comment.as_deref(),
            order.shipment_reference.as_deref()
        ),
        (None, None)
    );
    assert_eq!(order.other["somethingNew"], json!({"deep": [1, 2]}));
}

#[test]
fn what_was_read_survives_being_written_and_read_again() {
    let read = order(given()).unwrap();
    let text = serde_json::to_string(&read).unwrap();
    assert!(
        text.contains("\"shipmentStatus\"") && text.contains("\"somethingNew\""),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), read);
    assert_eq!(order(serde_json::from_str(&text).unwrap()).unwrap(), read);
    let unit =
        line_unit(json!({"id": 1, "productCode": "CTD-1", "requiresImei": false, "colour": "red"}))
            .unwrap();
    let text = serde_json::to_string(&unit).unwrap();
    assert_eq!(serde_json::from_str::<LineUnit>(&text).unwrap(), unit);
}

#[test]
fn an_order_without_an_id_is_refused() {
    for bad in [
        json!({}),
        json!({"id": "x"}),
        json!({"id": null}),
        json!([]),
        json!("order"),
    ] {
        assert!(order(bad).is_err());
    }
}

#[test]
fn what_an_item_requires_may_be_unsaid() {
    let unit = line_unit(
        json!({"id": 1, "requiresSerialNumber": "true", "requiresSimNumber": false, "serialNumber": ""}),
    );
    let unit = unit.unwrap();
    assert_eq!(unit.requires_serial_number, Some(true));
    assert_eq!(unit.requires_sim_number, Some(false));
    assert_eq!((unit.requires_imei, unit.serial_number), (None, None));
}

#[test]
fn a_provisioning_answer_is_yes_no_nothing_or_a_doubt() {
    let yes = |text: &str| {
        Ok(Provisioning::Provisioned {
            serial: text.to_owned(),
        })
    };
    let no = |text: &str| {
        Ok(Provisioning::Declined {
            error: text.to_owned(),
        })
    };
    assert_eq!(
        provisioning(Some(json!({"isSuccess": true, "serialNo": "CX1A2B3C4D5E"}))),
        yes("CX1A2B3C4D5E")
    );
    assert_eq!(
        provisioning(Some(
            json!({"IsSuccess": true, "SerialNo": "c1-800-000-0001"})
        )),
        yes("C18000000001")
    );
    assert_eq!(
        provisioning(Some(json!({"serialNo": "CX1A2B3C4D5E"}))),
        yes("CX1A2B3C4D5E")
    );
    assert_eq!(
        provisioning(Some(json!({"isSuccess": false, "error": "x"}))),
        no("x")
    );
    assert_eq!(provisioning(Some(json!({"isSuccess": false}))), no(""));
    assert_eq!(provisioning(Some(json!({"error": "x"}))), no("x"));
    assert_eq!(provisioning(None), Ok(Provisioning::Nothing));
    for doubt in [
        json!({"isSuccess": true}),
        json!({"isSuccess": true, "serialNo": ""}),
        json!({"isSuccess": false, "serialNo": "CX1A2B3C4D5E"}),
        json!({}),
        json!([]),
    ] {
        assert!(provisioning(Some(doubt.clone())).is_err(), "{doubt}");
    }
    let evidence = provisioning(Some(
        json!({"isSuccess": false, "serialNo": "CX1A2B3C4D5E"}),
    ))
    .unwrap_err();
    assert!(
        evidence.contains("CX1A2B3C4D5E"),
        "the serial is not lost: {evidence}"
    );
}

#[test]
fn a_device_is_ready_by_its_owner_only() {
    let read = |value| device_database(value).unwrap();
    let owned = read(
        json!({"serialNo": "cx0000000001", "ownerDatabaseName": "acme", "sharedDatabaseName": "b"}),
    );
    assert_eq!(
        (owned.serial.as_str(), owned.owner.as_deref()),
        ("CX0000000001", Some("acme"))
    );
    assert_eq!(owned.shared, ["b"]);
    let shared = read(
        json!({"serialNo": "CX0000000002", "ownerDatabaseName": "", "sharedDatabaseName": ["b", "c"]}),
    );
    assert_eq!((shared.owner, shared.shared.len()), (None, 2));
    assert!(device_database(json!({"ownerDatabaseName": "acme"})).is_err());
    let device =
        partner_device(json!({"serialNumber": "CX-0", "productCode": "P", "database": null}))
            .unwrap();
    assert_eq!((device.serial.as_str(), device.database), ("CX0", None));
}

#[test]
fn contracts_and_users() {
    let contract = device_contract(
        json!({"id": 5, "device": {"serialNumber": "cx9", "modemSerialNo": "35"},
        "isTerminated": true, "terminatedDate": "2026-01-01", "latestDeviceDatabase": {"databaseName": "acme"}, "groupId": 3}),
    );
    let contract = contract.unwrap();
    assert_eq!(
        (contract.serial.as_deref(), contract.imei.as_deref()),
        (Some("CX9"), Some("35"))
    );
    assert_eq!(
        (contract.is_terminated, contract.latest_database.as_deref()),
        (Some(true), Some("acme"))
    );
    assert_eq!(contract.other["groupId"], 3);
    let user = user(
        json!({"userId": "secret-key", "sessionId": "secret-session", "name": "a@b.c",
        "accounts": [{"accountId": "TEST01", "currency": {}}], "roles": [{"name": "Third-Party-Integrator"}, "Plain"]}),
    );
    let user = user.unwrap();
    assert_eq!(
        (user.accounts.as_slice(), user.roles.len()),
        (&["TEST01".to_owned()][..], 2)
    );
    assert!(!format!("{user:?}").contains("secret"));
}

#[test]
fn windows_are_days_in_utc_with_an_overlap() {
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let day = |text: &str| text.parse::<Date>().unwrap();
    let now = at("2026-03-02T23:30:00-05:00");
    let last = Window::last(90, now);
    assert_eq!((last.from, last.to), (day("2025-12-03"), day("2026-03-04")));
    let since = Window::since(at("2026-03-01T01:00:00Z"), 2, now);
    assert_eq!(
        (since.from, since.to),
        (day("2026-02-27"), day("2026-03-04"))
    );
    let future = Window::since(at("2027-01-01T00:00:00Z"), 2, now);
    assert!(future.from <= future.to);
}
