//! What MyAdmin refuses, and what of it is asked again: reads only, and only what may pass.

use dig_ingest::myadmin::error::Why;
use dig_ingest::sim::{BodyKind, CutAt, RetryAfter};

use super::*;

const READ: Operation = Operation::GetPartnerDeviceContracts;

#[tokio::test]
async fn trouble_that_may_pass_is_asked_again() {
    let sim = prompt().await;
    ordered(&sim, 1);
    let client = client(&sim);
    let transient = [
        Rule::throw("GenericRequestError", "The database is away."),
        Rule::throw(
            "InvalidOperationException",
            "Service temporarily unavailable",
        ),
        Rule::status(500),
        Rule::status(503).body(BodyKind::Html),
        Rule::status(502).body(BodyKind::Empty),
        Rule::cut(CutAt::AfterBody),
    ];
    for rule in transient {
        let before = calls(&sim, READ);
        let armed = sim.faults().push(rule.clone().on(READ).times(2));
        assert_eq!(client.partner_devices().await, Ok(Vec::new()), "{rule:?}");
        assert_eq!(calls(&sim, READ) - before, 3, "{rule:?}");
        sim.faults().remove(armed);
    }
    for rule in [
        Rule::status(500),
        Rule::status(503),
        Rule::cut(CutAt::AfterBody),
    ] {
        let before = calls(&sim, Operation::PartnerOrders);
        sim.faults()
            .push(rule.on(Operation::PartnerOrders).times(2));
        assert_eq!(orders(&client).await.unwrap().len(), 1);
        assert_eq!(calls(&sim, Operation::PartnerOrders) - before, 3);
    }
    assert_eq!(logins(&sim), 1);
    sim.stop().await;
}

#[tokio::test]
async fn attempts_are_bounded() {
    let sim = prompt().await;
    let client = Client::new(&myadmin::Config {
        read_attempts: 3,
        ..config(&sim)
    })
    .unwrap();
    sim.faults()
        .push(Rule::throw("GenericRequestError", "The database is away.").on(READ));
    let error = bounded("an end", client.partner_devices())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Transient));
    assert!(error.retryable() && !error.may_have_effects(), "{error}");
    assert_eq!(calls(&sim, READ), 3);
    sim.stop().await;
}

#[tokio::test]
async fn what_will_not_pass_is_told_at_once() {
    let sim = prompt().await;
    let client = client(&sim);
    let rows = [
        ("SecurityException", "No.", Kind::Security),
        ("ArgumentException", "No.", Kind::Argument),
        ("DuplicateException", "No.", Kind::Duplicate),
        ("InvalidDataException", "No.", Kind::Data),
        (
            "MyAdminException",
            "forAccount not provided!",
            Kind::Business,
        ),
        (
            "MyAdminException",
            "duplicate_entity_error",
            Kind::Duplicate,
        ),
        ("NullReferenceException", "No.", Kind::Fault),
        ("NobodyKnowsException", "No.", Kind::Unknown),
        (
            "MissingMethodException",
            "An error has occurred",
            Kind::Version,
        ),
    ];
    for (name, text, kind) in rows {
        let before = calls(&sim, READ);
        sim.faults().push(Rule::throw(name, text).on(READ).times(1));
        let error = client.partner_devices().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.retryable()),
            (Some(kind), false),
            "{name}"
        );
        assert_eq!(calls(&sim, READ) - before, 1, "{name}");
        let Why::Refused(refusal) = &error.why else {
            panic!("{error}");
        };
        assert_eq!((refusal.name.as_str(), refusal.status), (name, 200));
        assert!(
            refusal.message.contains("(Ref ID: "),
            "for people: {refusal}"
        );
        assert_eq!(refusal.comparable(), text);
    }
    sim.stop().await;
}

#[tokio::test]
async fn an_error_envelope_counts_under_any_status() {
    let sim = prompt().await;
    let client = Client::new(&myadmin::Config {
        read_attempts: 1,
        ..config(&sim)
    })
    .unwrap();
    for status in [400, 500, 503] {
        sim.faults().push(Rule::status(status).on(READ).times(1));
        let error = client.partner_devices().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status()),
            (Some(Kind::Transient), Some(status)),
            "{error}"
        );
        // Without an envelope the status alone speaks.
        sim.faults()
            .push(Rule::status(status).body(BodyKind::Html).on(READ).times(1));
        let error = client.partner_devices().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status()),
            (None, Some(status)),
            "{error}"
        );
    }
    sim.faults()
        .push(Rule::status(200).body(BodyKind::Html).on(READ).times(1));
    let error = client.partner_devices().await.unwrap_err();
    assert!(
        matches!(error.why, Why::Unreadable { status: 200, .. }),
        "{error}"
    );
    sim.stop().await;
}

#[tokio::test]
async fn rest_refusals_of_either_form_are_told_with_their_words() {
    for form in [market::RestErrors::Text, market::RestErrors::Message] {
        let sim = simulator(market::Settings {
            rest_errors: form,
            ..market::Settings::prompt()
        })
        .await;
        let stranger = partner(&sim, |_| {});
        let error = orders(&stranger).await.unwrap_err();
        assert_eq!(error.status(), Some(403));
        assert!(!error.retryable(), "{error}");
        assert!(
            error.to_string().contains("Third-Party-Integrator"),
            "{error}"
        );
        let error = client(&sim).order_units(1).await.unwrap_err();
        assert_eq!((error.status(), error.retryable()), (Some(404), false));
        assert_eq!(calls(&sim, Operation::PartnerUnits), 1);
        sim.stop().await;
    }
}

#[tokio::test]
async fn a_429_is_waited_out_as_long_as_it_says() {
    let sim = prompt().await;
    ordered(&sim, 1);
    let client = client(&sim);
    let limited = |hint| {
        Rule::status(429)
            .body(BodyKind::Empty)
            .retry_after(hint)
            .times(1)
    };
    sim.faults()
        .push(limited(RetryAfter::Seconds(1)).on(Operation::PartnerOrders));
    assert_eq!(orders(&client).await.unwrap().len(), 1);
    assert_eq!(calls(&sim, Operation::PartnerOrders), 2);
    sim.faults().push(limited(RetryAfter::DateIn(1)).on(READ));
    assert_eq!(client.partner_devices().await, Ok(Vec::new()));
    assert_eq!(calls(&sim, READ), 2);
    sim.stop().await;
}

#[tokio::test]
async fn a_429_holds_its_surface_for_everybody_and_no_other() {
    let sim = prompt().await;
    ordered(&sim, 1);
    let hints = [
        // As long as it says, but never longer than the settings allow.
        (RetryAfter::Seconds(500), 500, 500),
        (RetryAfter::Seconds(7200), 7200, 900),
        (RetryAfter::None, 0, 300),
    ];
    for (hint, asked, held) in hints {
        let client = Client::new(&myadmin::Config {
            throttle_pause_s: 300,
            ..config(&sim)
        })
        .unwrap();
        orders(&client).await.unwrap();
        let before = calls(&sim, Operation::PartnerOrders);
        sim.faults().push(
            Rule::status(429)
                .body(BodyKind::Empty)
                .retry_after(hint)
                .on(Operation::PartnerOrders)
                .times(1),
        );
        let error = bounded("an end", orders(&client)).await.unwrap_err();
        assert_eq!(error.status(), Some(429), "longer than patience: {error}");
        assert!(error.retryable() && !error.may_have_effects());
        let said = error.wait().unwrap_or_default().as_secs();
        assert!(said.abs_diff(asked) <= 1, "{error}");
        let error = bounded("an end", client.order_units(1)).await.unwrap_err();
        let Why::Full { wait } = error.why else {
            panic!("{error}");
        };
        assert!(wait <= Duration::from_secs(held), "{wait:?}");
        assert!(wait > Duration::from_secs(held / 2), "{wait:?}");
        assert_eq!(calls(&sim, Operation::PartnerOrders) - before, 1);
        assert_eq!(calls(&sim, Operation::PartnerUnits), 0, "nothing was sent");
        assert_eq!(client.partner_devices().await, Ok(Vec::new()));
    }
    sim.stop().await;
}

#[tokio::test]
async fn our_own_limits_keep_below_theirs() {
    let sim = simulator(market::Settings {
        limits: vec![market::Limit {
            endpoint: Some("v2".to_owned()),
            method: None,
            per: market::Per::User,
            most: 20,
            seconds: 1,
            rows: false,
        }],
        ..market::Settings::prompt()
    })
    .await;
    let limits: limits::Table = toml::from_str("v2 = \"20/s\"").unwrap();
    let client = Client::new(&myadmin::Config {
        limits,
        limits_share: 0.4,
        ..config(&sim)
    })
    .unwrap();
    let many = futures_util::future::join_all((0..30).map(|_| client.partner_devices()));
    for devices in bounded("many calls", many).await {
        assert_eq!(devices, Ok(Vec::new()));
    }
    assert_eq!(calls(&sim, READ), 30, "none was turned away");
    sim.stop().await;
}

#[tokio::test]
async fn a_method_is_found_under_the_version_that_serves_it() {
    let sim = prompt().await;
    let moved = "That method is not yet available for that API version";
    let once = || {
        Rule::throw("InvalidOperationException", moved)
            .on(READ)
            .times(1)
    };
    sim.faults().push(once());
    let error = client(&sim).partner_devices().await.unwrap_err();
    assert_eq!((error.kind(), calls(&sim, READ)), (Some(Kind::Version), 1));
    let client = Client::new(&myadmin::Config {
        version_fallback: true,
        ..config(&sim)
    })
    .unwrap();
    sim.faults().push(once());
    for _ in 0..2 {
        assert_eq!(client.partner_devices().await, Ok(Vec::new()));
    }
    let asked = sim.exchanges();
    let asked: Vec<_> = asked
        .iter()
        .filter(|exchange| exchange.operation == READ)
        .map(|exchange| exchange.target.as_str())
        .collect();
    let (v2, v3) = ("/v2/MyAdminApi.ashx", "/v3/MyAdminApi.ashx");
    assert_eq!(asked, [v2, v2, v3, v3], "what was found is kept to");
    // What changes something is not asked under another version by itself.
    sim.faults().push(
        Rule::throw("InvalidOperationException", moved)
            .on(Operation::Provision)
            .times(1),
    );
    let error = client.provision(&device()).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Version));
    assert!(!error.may_have_effects());
    assert_eq!(calls(&sim, Operation::ProvisionDeviceToAccount), 1);
    sim.stop().await;
}
