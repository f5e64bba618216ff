//! `ftpfs`: parse, run, exit code.

use std::{env, os::unix::ffi::OsStrExt, process::ExitCode};

use ftpfs::{
    cli::{Confirm, DoctorRequest, Request, Stop, Surroundings, Target},
    config::{Config, FtpConfig},
    doctor,
    ftp::Untrusted,
    logging,
    mount::{self, Ending},
    printed,
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(message) => {
            printed::complain(message);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let request = match Request::parse(env::args_os()) {
        Ok(request) => request,
        Err(Stop::Print(text)) => {
            printed::print(text);
            return Ok(ExitCode::SUCCESS);
        }
        Err(Stop::Usage(error)) => return Err(error.to_string()),
    };
    let surroundings = Surroundings::current();
    logging::init(&request.opts().to_log_config(&surroundings))?;
    hide_passwords(&surroundings);
    match request {
        Request::Mount(request) => {
            let config = request.to_config(&surroundings);
            let config = config.map_err(|error| error.to_string())?;
            let confirm = surroundings.confirm;
            drop((request, surroundings));
            match mount_trusting(&config, confirm)? {
                Ending::Well => Ok(ExitCode::SUCCESS),
                Ending::Reported => Ok(ExitCode::FAILURE),
            }
        }
        Request::Doctor(request) => {
            let config = request.to_config(&surroundings);
            let config = config.map_err(|error| error.to_string())?;
            examine(&config, &request, surroundings.confirm)
        }
    }
}

/// Mounts; once more when the user trusts a certificate for which nothing else vouches.
fn mount_trusting(config: &Config, confirm: Option<Confirm>) -> Result<Ending, String> {
    let error = match mount::run(config) {
        Err(error) if error.is_untrusted() => error,
        outcome => return outcome.map_err(|error| error.to_string()),
    };
    let Some(confirm) = confirm else {
        return Err(format!(
            "{error}; a mount on a terminal shows the certificate and asks whether to trust it from now on"
        ));
    };
    if !trusts(&config.ftp, confirm)? {
        return Err(error.to_string());
    }
    mount::run(config).map_err(|error| error.to_string())
}

/// Asks whether the certificate that the server shows is to be trusted from now on.
fn trusts(config: &FtpConfig, confirm: Confirm) -> Result<bool, String> {
    let Some(untrusted) = Untrusted::find(config) else {
        return Ok(false);
    };
    let is_trusted = confirm(&untrusted.to_string())
        .map_err(|error| format!("cannot ask on the terminal: {error}"))?;
    if is_trusted {
        untrusted
            .trust()
            .map_err(|error| format!("cannot remember the certificate: {error}"))?;
    }
    Ok(is_trusted)
}

/// Says what the doctor finds; the exit status says whether a mount works.
fn examine(
    config: &FtpConfig,
    request: &DoctorRequest,
    confirm: Option<Confirm>,
) -> Result<ExitCode, String> {
    let mut report = doctor::examine(config, request.is_read_only());
    if let Some(confirm) = confirm.filter(|_| report.rejects_certificate())
        && trusts(config, confirm)?
    {
        report = doctor::examine(config, request.is_read_only());
    }
    if request.is_json() {
        let json = report.to_json().map_err(|error| error.to_string())?;
        printed::print(format_args!("{json:#}\n"));
    } else {
        printed::print(&report);
    }
    Ok(if report.works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Wipes the passwords from what /proc shows of our arguments and environment.
fn hide_passwords(surroundings: &Surroundings) {
    if let Err(error) = mount::forbid_cores() {
        log::warn!("a crash may leave the password in a core file: {error}");
    }
    if surroundings.password.is_some()
        && let Err(error) = mount::hide_variable("FTPFS_PASSWORD")
    {
        log::warn!("FTPFS_PASSWORD stays visible in /proc/self/environ: {error}");
    }
    for argument in env::args_os() {
        let ranges = Target::password_ranges(argument.as_bytes());
        if ranges.is_empty() {
            continue;
        }
        if let Err(error) = mount::hide_argument(&argument, &ranges) {
            log::warn!("the password in a URL stays visible in the process list: {error}");
        }
    }
}
