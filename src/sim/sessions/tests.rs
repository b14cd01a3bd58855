use super::*;

fn open() -> (Sessions, Settings) {
    (
        Sessions::default(),
        Settings {
            auth_per_minute: 0,
            ..Settings::default()
        },
    )
}

#[test]
fn a_pair_lives_its_time_and_refreshes_once() {
    let (mut sessions, settings) = open();
    let pair = sessions
        .authenticate("u@x", "p", 0, &settings)
        .ok()
        .unwrap();
    assert_eq!(pair.bearer_expires, 72 * 3600 * 1_000_000);
    assert_eq!(
        sessions.user_of(Some(&pair.bearer), pair.bearer_expires - 1, &settings),
        Ok("u@x")
    );
    assert_eq!(
        sessions
            .user_of(Some(&pair.bearer), pair.bearer_expires, &settings)
            .unwrap_err()
            .0,
        401
    );
    assert_eq!(sessions.user_of(None, 0, &settings).unwrap_err().0, 401);
    // Refresh still works once the bearer is gone, and leaves a live one alone.
    let next = sessions
        .refresh(
            &pair.bearer,
            &pair.refresh,
            pair.bearer_expires + 1,
            &settings,
        )
        .ok()
        .unwrap();
    assert_ne!(next.refresh, pair.refresh);
    let again = sessions.refresh(
        &pair.bearer,
        &pair.refresh,
        pair.bearer_expires + 1,
        &settings,
    );
    assert_eq!(again.err().unwrap().0, 403);
    let crossed = sessions.refresh(
        &pair.bearer,
        &next.refresh,
        pair.bearer_expires + 1,
        &settings,
    );
    assert_eq!(crossed.err().unwrap().0, 401);
    let late = sessions.refresh(&next.bearer, &next.refresh, next.refresh_expires, &settings);
    assert_eq!(late.err().unwrap().0, 401);
    // What the real one says of an expired refresh token is not known, so it is a setting.
    let settings = Settings {
        expired_refresh_status: 403,
        ..settings
    };
    let late = sessions.refresh(&next.bearer, &next.refresh, next.refresh_expires, &settings);
    assert_eq!(late.err().unwrap().0, 403);
    let late = sessions.revoke(&next.bearer, &next.refresh, next.refresh_expires, &settings);
    assert_eq!(late.err().unwrap().0, 403);
}

#[test]
fn revoking_blocks_after_the_delay() {
    let (mut sessions, settings) = open();
    let pair = sessions.authenticate("u", "p", 0, &settings).ok().unwrap();
    sessions
        .revoke(&pair.bearer, &pair.refresh, 10, &settings)
        .unwrap();
    let blocked = 10 + settings.revoke_delay_ms as i64 * 1000;
    assert!(
        sessions
            .user_of(Some(&pair.bearer), blocked - 1, &settings)
            .is_ok()
    );
    assert_eq!(
        sessions
            .user_of(Some(&pair.bearer), blocked, &settings)
            .unwrap_err()
            .0,
        403
    );
    assert_eq!(
        sessions
            .revoke(&pair.bearer, &pair.refresh, 10, &settings)
            .unwrap_err()
            .0,
        403
    );
    assert_eq!(
        sessions
            .refresh(&pair.bearer, &pair.refresh, 10, &settings)
            .err()
            .unwrap()
            .0,
        403
    );
}

#[test]
fn five_calls_a_minute_for_each_endpoint_and_user() {
    let mut sessions = Sessions::default();
    let settings = Settings::default();
    for at in 0..5 {
        assert!(sessions.authenticate("u", "p", at, &settings).is_ok());
    }
    assert_eq!(
        sessions
            .authenticate("u", "p", MINUTE - 1, &settings)
            .err()
            .unwrap()
            .0,
        429
    );
    assert!(sessions.authenticate("other", "p", 5, &settings).is_ok());
    assert_eq!(
        sessions.refresh("b", "r", 5, &settings).err().unwrap().0,
        403
    );
    assert!(sessions.authenticate("u", "p", MINUTE, &settings).is_ok());
    assert_eq!(
        sessions
            .authenticate("u", "p", MINUTE, &settings)
            .err()
            .unwrap()
            .0,
        429
    );
}

#[test]
fn tokens_have_the_documented_look() {
    let pair = Sessions::default()
        .authenticate("dig@geo.tab", "p", 7_000_000, &Settings::default())
        .ok()
        .unwrap();
    assert_eq!(pair.refresh.len(), 60);
    let claims = URL_SAFE_NO_PAD
        .decode(pair.bearer.split('.').nth(1).unwrap())
        .unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        259_200
    );
}

#[test]
fn only_the_account_gets_in_when_there_is_one() {
    let account = Account {
        username: "u".into(),
        password: "right".into(),
    };
    assert!(!format!("{account:?}").contains("right"));
    let mut sessions = Sessions::new(Some(account));
    let settings = Settings::default();
    assert_eq!(
        sessions
            .authenticate("u", "wrong", 0, &settings)
            .err()
            .unwrap()
            .0,
        401
    );
    assert!(sessions.authenticate("u", "right", 0, &settings).is_ok());
}
