use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{Diagnose, ObjectId, TenantId};

/// The table, written down a second time, as in the specification.
const TABLE: &[(SessionState, SessionState)] = &[
    (SessionState::Unauthenticated, SessionState::Delegated),
    (SessionState::Unauthenticated, SessionState::AgentUser),
    (SessionState::Delegated, SessionState::Provisioning),
    (SessionState::Delegated, SessionState::Unauthenticated),
    (SessionState::Provisioning, SessionState::AgentUser),
    (SessionState::Provisioning, SessionState::Error),
    (SessionState::Provisioning, SessionState::Delegated),
    (SessionState::Error, SessionState::Delegated),
    (SessionState::Error, SessionState::Unauthenticated),
    (SessionState::AgentUser, SessionState::Error),
    (SessionState::AgentUser, SessionState::Unauthenticated),
];

fn agent() -> AgentUserId {
    AgentUserId::parse("00000000-0000-4000-8000-00000000000a").unwrap()
}

fn human() -> Human {
    Human::new(
        ObjectId::parse("00000000-0000-4000-8000-00000000000b").unwrap(),
        TenantId::parse("contoso.example").unwrap(),
    )
}

fn step(to: SessionState) -> Step {
    match to {
        SessionState::Unauthenticated => Step::Unauthenticated,
        SessionState::Delegated => Step::Delegated(human()),
        SessionState::Provisioning => Step::Provisioning,
        SessionState::AgentUser => Step::AgentUser(agent()),
        SessionState::Error => Step::Error,
    }
}

proptest! {
    /// Any walk: a step succeeds exactly when the table has it, a refused one leaves the session untouched, and
    /// user and attribution are what the state says.
    #[test]
    fn every_walk_follows_the_table(walk in proptest::collection::vec((0usize..5, any::<bool>()), 0..60)) {
        let session = Session::new();
        for (to, callback_fails) in walk {
            let to = SessionState::ALL[to];
            let before = session.snapshot();
            let allowed = TABLE.contains(&(before.state, to));
            let result = session.enter_with(step(to), || if callback_fails { Err(std::fmt::Error) } else { Ok(()) });
            let after = session.snapshot();
            match result {
                Ok(()) => {
                    prop_assert!(allowed && !callback_fails);
                    prop_assert_eq!(after.state, to);
                    match to {
                        SessionState::Unauthenticated => {
                            prop_assert_eq!(after.user, None);
                            prop_assert_eq!(after.attribution, AttributionType::None);
                        }
                        SessionState::Delegated => {
                            prop_assert_eq!(after.user, Some(SessionUser::Human(human())));
                            prop_assert_eq!(after.attribution, AttributionType::DelegatedHuman);
                        }
                        SessionState::AgentUser => {
                            prop_assert_eq!(after.user, Some(SessionUser::Agent(agent())));
                            prop_assert_eq!(after.attribution, AttributionType::Agent);
                        }
                        SessionState::Provisioning | SessionState::Error => {
                            prop_assert_eq!(after.user, before.user);
                            prop_assert_eq!(after.attribution, before.attribution);
                        }
                    }
                }
                Err(SessionError::InvalidTransition(error)) => {
                    prop_assert!(!allowed);
                    prop_assert_eq!((error.from(), error.to()), (before.state, to));
                    prop_assert_eq!(after, before);
                }
                Err(_) => {
                    prop_assert!(allowed && callback_fails);
                    prop_assert_eq!(after, before);
                }
            }
        }
    }
}

#[test]
fn a_refused_step_names_both_states() {
    let error = Session::new().enter(Step::Error).unwrap_err();
    assert_eq!(error.to_string(), "no session step from UNAUTHENTICATED to ERROR");
    assert_eq!(error.error_type(), "InvalidTransitionError");
}

#[test]
fn the_old_state_is_seen_until_the_callback_is_done_and_a_panic_takes_the_step_back() {
    let session = Session::new();
    session
        .enter_with(Step::AgentUser(agent()), || {
            assert_eq!(session.state(), SessionState::Unauthenticated);
            Ok::<(), std::fmt::Error>(())
        })
        .unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        session.enter_with(Step::Error, || -> Result<(), std::fmt::Error> { panic!("planned") })
    }));
    assert!(panicked.is_err());
    assert_eq!(session.state(), SessionState::AgentUser);
    session.enter(Step::Unauthenticated).expect("the lock was given back");
}

#[test]
fn a_step_waits_for_the_one_under_way_and_not_for_ever() {
    let mut session = Session::new();
    session.lock_wait = Duration::from_millis(50);
    let session = &session;
    let (entered, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let (entered, go) = (&entered, &go);
    let error = std::thread::scope(|scope| {
        scope.spawn(move || {
            session.enter_with(Step::AgentUser(agent()), || {
                entered.wait();
                go.wait();
                Ok::<(), std::fmt::Error>(())
            })
        });
        entered.wait();
        let error = session.enter(Step::Delegated(human())).unwrap_err();
        go.wait();
        error
    });
    assert_eq!(error.error_type(), "TransitionTimeoutError");
    assert_eq!(session.state(), SessionState::AgentUser);
}

#[test]
fn listeners_run_outside_the_lock_and_do_not_disturb_each_other() {
    let session = Arc::new(Session::new());
    let seen = Arc::new(AtomicUsize::new(0));
    session.listen(|_| panic!("planned"));
    let (inside, counter) = (Arc::downgrade(&session), Arc::clone(&seen));
    session.listen(move |change| {
        let state = inside.upgrade().unwrap().state();
        assert_eq!(state, change.to);
        counter.fetch_add(1, Ordering::SeqCst);
    });
    session.enter(Step::AgentUser(agent())).unwrap();
    session.enter(Step::AgentUser(agent())).unwrap_err();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn after_a_failed_refresh_the_session_is_empty_and_signing_in_again_works() {
    let session = Session::new();
    session.agent_signed_in(agent()).unwrap();
    session.agent_signed_in(agent()).expect("the same user again is no change");
    session.refresh_failed().unwrap();
    assert_eq!(session.snapshot(), SessionSnapshot::nobody());
    session.refresh_failed().expect("nothing to clear");
    session.agent_signed_in(agent()).unwrap();
    assert_eq!(session.state(), SessionState::AgentUser);
}

#[test]
fn a_person_is_never_exchanged_for_the_agent_silently() {
    let session = Session::new();
    session.enter(Step::Delegated(human())).unwrap();
    assert!(session.agent_signed_in(agent()).is_err());
    let other = AgentUserId::parse("00000000-0000-4000-8000-00000000000c").unwrap();
    let session = Session::new();
    session.agent_signed_in(agent()).unwrap();
    assert!(session.agent_signed_in(other).is_err());
}
