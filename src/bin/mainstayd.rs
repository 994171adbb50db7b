//! The daemon (being written).
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("score") {
        let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
        let served = mainstay::score::run(input, output, mainstay::score::Options::default());
        return if served.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    ExitCode::FAILURE
}
