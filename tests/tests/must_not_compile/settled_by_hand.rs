// error: E0451
// says: of struct `Settled`
// Only a permit settles.
fn main() {
    let _: entrabot_audit::Settled<(), ()> = entrabot_audit::Settled { ..unreachable!() };
}
