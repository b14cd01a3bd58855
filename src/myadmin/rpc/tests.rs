use super::*;

fn refused(status: u16, value: &Value) -> Refusal {
    match envelope(status, value.to_string().as_bytes()) {
        Envelope::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn error(name: &str, message: &str) -> Value {
    json!({"error": {"name": "JSONRPCError", "message": message, "errors": [{"name": name, "message": message}]}})
}

#[test]
fn both_encodings_carry_the_same_call() {
    let params = json!({"productId": 10032, "erpNo": "A&B=ü+ %"});
    let keys = Keys {
        api_key: Secret::new("key"),
        session_id: Secret::new("session"),
    };
    let write = |encoding| {
        let params = params.as_object().unwrap();
        let bytes = body(
            encoding,
            Method::Provision,
            params,
            Some(&json!({"page": 1})),
            Some(&keys),
        );
        String::from_utf8(bytes).unwrap()
    };
    let plain: Value = serde_json::from_str(&write(Encoding::Json)).unwrap();
    assert_eq!(plain["method"], "ProvisionDeviceToAccount");
    assert_eq!(plain["params"]["erpNo"], "A&B=ü+ %");
    assert_eq!(
        (&plain["params"]["apiKey"], &plain["params"]["sessionId"]),
        (&json!("key"), &json!("session"))
    );
    assert_eq!(
        plain["pagination"],
        json!({"page": 1}),
        "beside params, not in them"
    );
    let form = write(Encoding::Form);
    let form = form.strip_prefix("JSON-RPC=").unwrap();
    assert!(!form.contains(['&', '=', '+', ' ', '"']), "{form}");
    let decoded = url::decode(form);
    assert_eq!(serde_json::from_str::<Value>(&decoded).unwrap(), plain);
    assert!(!format!("{keys:?}").contains("session\""), "C1");
}

mod url {
    /// The other direction, for the test alone.
    pub fn decode(text: &str) -> String {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let hex = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).unwrap()
    }
}

#[test]
fn a_result_is_present_or_null_or_absent() {
    let read = |text: &str| match envelope(200, text.as_bytes()) {
        Envelope::Success(answer) => answer.result,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(r#"{"result": [1]}"#), Some(json!([1])));
    assert_eq!(read(r#"{"Result": false, "id": -1}"#), Some(json!(false)));
    assert_eq!(read(r#"{"result": null}"#), None);
    assert_eq!(read("{}"), None);
    assert_eq!(read(r#"{"error": null}"#), None);
    for bad in ["", "[]", "null", "<html>", "7"] {
        assert!(
            matches!(envelope(200, bad.as_bytes()), Envelope::Neither(_)),
            "{bad}"
        );
    }
    assert!(
        matches!(envelope(502, b"{}"), Envelope::Neither(_)),
        "an error status is no success"
    );
}

#[test]
fn pagination_stands_beside_the_result() {
    let body = br#"{"result": [], "pagination": {"page": "2", "perPage": 100, "total": 150, "nextCursor": "c"}}"#;
    let Envelope::Success(answer) = envelope(200, body) else {
        panic!("no success");
    };
    let page = answer.pagination.unwrap();
    assert_eq!(
        (page.page, page.per_page, page.total),
        (Some(2), Some(100), Some(150))
    );
    assert_eq!(page.next_cursor.as_deref(), Some("c"));
}

#[test]
fn every_published_exception_has_its_kind_under_any_status() {
    let rows = [
        ("SessionExpiredException", "x", Kind::Session),
        ("SecurityException", "x", Kind::Security),
        ("UserAuthenticationException", "x", Kind::Credentials),
        (
            "WebServerInvokerJSONException",
            "'UnknownUser: a@b.c'",
            Kind::Credentials,
        ),
        ("WebServerInvokerJSONException", "x", Kind::Unknown),
        ("ArgumentException", "x", Kind::Argument),
        ("InvalidDataException", "x", Kind::Data),
        ("DuplicateException", "x", Kind::Duplicate),
        ("MyAdminException", "illegal_field_value", Kind::Business),
        (
            "MyAdminException",
            "duplicate_entity_error",
            Kind::Duplicate,
        ),
        (
            "MyAdminException",
            "forAccount not provided!",
            Kind::Business,
        ),
        ("GenericRequestError", "x", Kind::Transient),
        (
            "MissingMethodException",
            "An error has occurred",
            Kind::Version,
        ),
        ("NullReferenceException", "x", Kind::Fault),
        ("InvalidOperationException", "x", Kind::Fault),
        ("Geotab.MyAdmin.SecurityException", "x", Kind::Security),
        (
            "MyAdminException",
            "That method is not yet available for that API version",
            Kind::Version,
        ),
        (
            "SomethingNew",
            "This method is no longer available",
            Kind::Version,
        ),
        (
            "InvalidOperationException",
            "Service temporarily unavailable",
            Kind::Transient,
        ),
        ("SomethingNew", "x", Kind::Unknown),
        ("", "x", Kind::Unknown),
    ];
    for (name, message, kind) in rows {
        for status in [200, 400, 401, 500, 503] {
            let refusal = refused(status, &error(name, message));
            assert_eq!(
                (refusal.kind, refusal.status),
                (kind, status),
                "{name} {message}"
            );
        }
    }
}

#[test]
fn texts_of_nested_causes_are_kept_once_with_their_reference() {
    let value = json!({"error": {"name": "JSONRPCError", "message": "forAccount not provided! (Ref ID: 1)", "errors": [
        {"name": "MyAdminException", "message": "An error has occurred (Ref ID: 1)"},
        {"name": "ArgumentException", "message": "forAccount not provided! (Ref ID: 2)"}]}});
    let refusal = refused(200, &value);
    assert_eq!(refusal.name, "MyAdminException", "the first names the kind");
    assert_eq!(
        refusal.message,
        "forAccount not provided! (Ref ID: 1); An error has occurred (Ref ID: 1)"
    );
    assert_eq!(
        refusal.comparable(),
        "forAccount not provided!; An error has occurred"
    );
}

#[test]
fn envelopes_of_odd_shapes_are_refusals_all_the_same() {
    for value in [
        json!({"error": "broken"}),
        json!({"error": {}}),
        json!({"error": {"message": "x", "errors": null}}),
        json!({"error": {"errors": ["text"]}}),
        json!({"error": true}),
        json!({"result": {"isSuccess": true}, "error": {"message": "both"}}),
    ] {
        assert_eq!(refused(200, &value).kind, Kind::Unknown, "{value}");
    }
}

#[test]
fn rest_bodies_of_every_kind() {
    assert_eq!(
        rest_text(br#"{"message": "no such order"}"#),
        "no such order"
    );
    assert_eq!(rest_text(br#"{"Error": {"Message": "x"}}"#), "x");
    assert_eq!(rest_text(b"plain\n text"), "plain text");
    assert_eq!(rest_text(b""), "");
    assert_eq!(rest_text(&[0xff]), "\u{fffd}");
    assert_eq!(rest_rows(b"[1, 2]").unwrap().len(), 2);
    assert_eq!(rest_rows(br#"{"data": [1]}"#).unwrap().len(), 1);
    assert!(rest_rows(b"").unwrap().is_empty() && rest_rows(b"null").unwrap().is_empty());
    assert!(rest_rows(b"{}").is_err() && rest_rows(b"<html>").is_err());
}

#[test]
fn a_login_gives_keys_and_roles_or_says_what_it_lacks_without_showing_it() {
    let whole =
        json!({"userId": "k-1", "sessionId": "s-1", "name": "a@b.c", "roles": [{"name": "R"}]});
    let (keys, user) = login(Some(whole)).unwrap();
    assert_eq!(
        (keys.api_key.reveal(), keys.session_id.reveal()),
        ("k-1", "s-1")
    );
    assert_eq!(user.roles, ["R"]);
    for (value, lacks) in [
        (json!({"userId": "k-1"}), "sessionId"),
        (json!({"userId": "k\n1", "sessionId": "s-1"}), "userId"),
        (json!({"userId": "", "sessionId": "s-1"}), "userId"),
    ] {
        let why = login(Some(value)).unwrap_err();
        assert!(
            why.contains(lacks) && !why.contains("k-1") && !why.contains("s-1"),
            "{why}"
        );
    }
    assert!(login(None).is_err());
}
