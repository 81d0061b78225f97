// error: E0277
// says: Sealed` is not satisfied
// Nobody says who acts but the chain.
#[derive(Debug)]
struct Myself;
impl entrabot_identity::Attribute for Myself {
    fn attribute(&self) -> Result<entrabot_identity::Attribution, entrabot_identity::Unattributed> {
        unreachable!()
    }
    fn attribute_as(
        &self,
        _: entrabot_identity::AttributionType,
    ) -> Result<entrabot_identity::Attribution, entrabot_identity::Unattributed> {
        unreachable!()
    }
    fn may_block(&self) -> bool {
        false
    }
}
fn main() {}
