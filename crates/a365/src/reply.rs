/// What a Work IQ tool answered.
#[derive(Debug)]
pub struct Reply {
    _private: (),
}
