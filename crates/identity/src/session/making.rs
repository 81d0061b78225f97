use super::{Session, SessionError, SessionState, SessionUser, Step};
use crate::ClientId;

/// An agent is being made: the session is in `Provisioning` as long as this lives.
///
/// Dropped without [`Making::finish`] (an error, a signal, a panic), it leaves the session in `Error`.
#[derive(Debug)]
#[must_use = "dropped at once, the session goes to `Error`"]
pub struct Making<'a> {
    session: &'a Session,
    /// Who makes it, and is signed in again when it is made.
    maker: Option<Step>,
}

impl Session {
    /// A person makes an agent: the one who is signed in, else `operator`, who acts through the Provisioner app.
    /// After a failed run (`Error`) another may begin.
    ///
    /// # Errors
    /// [`SessionError::InvalidTransition`] where the table has no way there: an agent makes no agents, and one run at
    /// a time.
    pub fn begin_making(&self, operator: ClientId) -> Result<Making<'_>, SessionError> {
        let mut maker = None;
        self.enter_all(|now| {
            let step = match &now.user {
                Some(SessionUser::Human(human)) => Step::Delegated(human.clone()),
                Some(SessionUser::Operator(operator)) => Step::Operator(operator.clone()),
                Some(SessionUser::Agent(_)) | None => Step::Operator(operator),
            };
            maker = Some(step.clone());
            match now.state {
                // In `Provisioning` another run is under way: there is no step from there to itself.
                SessionState::Delegated | SessionState::Provisioning => vec![Step::Provisioning],
                _ => vec![step, Step::Provisioning],
            }
        })?;
        Ok(Making { session: self, maker })
    }
}

impl Making<'_> {
    /// It is made; its maker is signed in as before. The agent signs in for itself.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn finish(mut self) -> Result<(), SessionError> {
        match self.maker.take() {
            Some(maker) => self.session.enter(maker),
            None => Ok(()),
        }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if self.maker.is_some()
            && let Err(error) = self.session.enter(Step::Error)
        {
            tracing::warn!(%error, "the session does not say that making the agent failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{AgentUserId, AttributionType, Human, ObjectId, TenantId};

    fn operator() -> ClientId {
        ClientId::parse("00000000-0000-4000-8000-00000000000e").unwrap()
    }

    /// A session, and every state that it enters.
    fn watched() -> (Session, Arc<Mutex<Vec<SessionState>>>) {
        let (session, entered) = (Session::new(), Arc::new(Mutex::new(Vec::new())));
        let told = Arc::clone(&entered);
        session.listen(move |change| told.lock().unwrap().push(change.to));
        (session, entered)
    }

    #[test]
    fn making_an_agent_is_a_persons_act_and_ends_with_that_person() {
        let (session, entered) = watched();
        let making = session.begin_making(operator()).unwrap();
        let during = session.snapshot();
        assert_eq!(during.state, SessionState::Provisioning);
        assert_eq!(during.attribution, AttributionType::DelegatedHuman);
        assert_eq!(during.user, Some(SessionUser::Operator(operator())));
        making.finish().unwrap();
        let states = [SessionState::Delegated, SessionState::Provisioning, SessionState::Delegated];
        assert_eq!(*entered.lock().unwrap(), states);
    }

    #[test]
    fn a_run_that_ends_otherwise_ends_in_error_and_the_next_one_begins_from_there() {
        let (session, entered) = watched();
        drop(session.begin_making(operator()).unwrap());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _making = session.begin_making(operator()).unwrap();
            panic!("planned");
        }));
        assert!(panicked.is_err());
        assert_eq!(session.state(), SessionState::Error);
        session.begin_making(operator()).unwrap().finish().unwrap();
        let failed = [SessionState::Delegated, SessionState::Provisioning, SessionState::Error];
        let made = [SessionState::Delegated, SessionState::Provisioning, SessionState::Delegated];
        assert_eq!(*entered.lock().unwrap(), [failed, failed, made].concat());
    }

    #[test]
    fn a_person_who_is_signed_in_stays_the_one_who_makes_it() {
        let (session, _) = watched();
        let human = Human::new(
            ObjectId::parse("00000000-0000-4000-8000-00000000000b").unwrap(),
            TenantId::parse("contoso.example").unwrap(),
        );
        session.enter(Step::Delegated(human.clone())).unwrap();
        drop(session.begin_making(operator()).unwrap());
        session.begin_making(operator()).unwrap().finish().unwrap();
        assert_eq!(session.snapshot().user, Some(SessionUser::Human(human)));
    }

    #[test]
    fn an_agent_makes_no_agent_and_there_is_one_run_at_a_time() {
        let (session, _) = watched();
        let making = session.begin_making(operator()).unwrap();
        let error = session.begin_making(operator()).unwrap_err();
        assert_eq!(error.to_string(), "no session step from PROVISIONING to PROVISIONING");
        making.finish().unwrap();
        session.enter(Step::Unauthenticated).unwrap();
        session.agent_signed_in(AgentUserId::parse("00000000-0000-4000-8000-00000000000a").unwrap()).unwrap();
        let error = session.begin_making(operator()).unwrap_err();
        assert_eq!(error.to_string(), "no session step from AGENT_USER to DELEGATED");
        assert_eq!(session.state(), SessionState::AgentUser);
    }
}
