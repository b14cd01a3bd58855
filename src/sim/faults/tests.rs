use super::*;

fn actions(faults: &mut Faults, count: usize) -> Vec<Action> {
    (0..count)
        .map(|_| faults.decide(Operation::Records, b"CX1", 0).action)
        .collect()
}

#[test]
fn the_first_matching_rule_acts_and_delays_before_it_add_up() {
    let mut faults = Faults::default();
    faults.push(Rule::delay(Delay::FixedMs(5)), 0).unwrap();
    faults
        .push(Rule::status(503).on(Operation::InvalidRecords), 0)
        .unwrap();
    faults
        .push(Rule::new(Action::Stall).with_serial("CX2"), 0)
        .unwrap();
    faults
        .push(
            Rule {
                delay: Some(Delay::FixedMs(2)),
                ..Rule::new(Action::Pass).times(1)
            },
            0,
        )
        .unwrap();
    faults
        .push(Rule::lose_answer(Loss::Cut).times(2).after(1), 0)
        .unwrap();
    let first = faults.decide(Operation::Records, b"..CX1..", 0);
    assert_eq!(
        first,
        Plan {
            delay: Duration::from_millis(7),
            action: Action::Pass
        }
    );
    let lost = Action::LoseAnswer(Loss::Cut);
    assert_eq!(
        actions(&mut faults, 4),
        [Action::Pass, lost.clone(), lost, Action::Pass]
    );
    assert_eq!(
        faults.decide(Operation::Records, b"CX CX2", 0).action,
        Action::Stall
    );
    faults.outage(Some(Action::Cut(CutAt::BeforeBody)));
    assert!(faults.early(Operation::Authenticate, 0).is_some());
    faults.outage(None);
    assert!(faults.early(Operation::Authenticate, 0).is_none());
    assert_eq!(faults.applied(), 6 + 1 + 2 + 1);
    faults.clear();
    assert_eq!(faults.applied(), 10);
}

#[test]
fn scopes_end() {
    let mut faults = Faults::default();
    let id = faults
        .push(
            Rule {
                seconds: Some(1.5),
                ..Rule::status(429)
            },
            1_000_000,
        )
        .unwrap();
    assert!(matches!(
        faults.decide(Operation::Records, b"", 2_499_999).action,
        Action::Status { status: 429, .. }
    ));
    assert_eq!(
        faults.decide(Operation::Records, b"", 2_500_000).action,
        Action::Pass
    );
    assert!(faults.remove(id) && !faults.remove(id));
}

#[test]
fn a_seed_repeats_itself() {
    let run = |seed| {
        let mut faults = Faults::default();
        faults
            .push(Rule::status(500).at_rate(0.3, seed), 0)
            .unwrap();
        actions(&mut faults, 1000)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let hits = run(7)
        .iter()
        .filter(|action| **action != Action::Pass)
        .count();
    assert!((250..350).contains(&hits), "{hits}");
}

#[test]
fn delays_stay_in_their_distribution() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut mean = 0.0;
    for _ in 0..2000 {
        let uniform = Delay::UniformMs(5, 9).draw(&mut rng).as_millis();
        assert!((5..=9).contains(&uniform));
        mean += Delay::ExponentialMs(20.0).draw(&mut rng).as_secs_f64() / 2.0;
    }
    assert!((15.0..25.0).contains(&mean), "{mean}");
}

#[test]
fn refuses_rules_that_cannot_work_and_reads_json() {
    let mut faults = Faults::default();
    for rule in [
        Rule::default(),
        Rule::cut(CutAt::BeforeBody).with_serial("A"),
        Rule::status(500).at_rate(1.5, 0),
        Rule::status(99),
    ] {
        assert!(faults.push(rule, 0).is_err());
    }
    let text = r#"{"operation":"records","action":{"status":{"status":503,"retry_after":{"seconds":2}}},"count":3}"#;
    let rule: Rule = serde_json::from_str(text).unwrap();
    assert_eq!(
        rule,
        Rule::status(503)
            .on(Operation::Records)
            .times(3)
            .retry_after(RetryAfter::Seconds(2))
    );
    assert_eq!(
        serde_json::from_str::<Rule>(&serde_json::to_string(&rule).unwrap()).unwrap(),
        rule
    );
    assert!(serde_json::from_str::<Rule>(r#"{"cuont":3}"#).is_err());
}
