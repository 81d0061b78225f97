/// Makes, resumes and removes an agent through Microsoft Graph; asks the gate before each changing step.
#[derive(Debug)]
pub struct Provisioner {
    _private: (),
}
