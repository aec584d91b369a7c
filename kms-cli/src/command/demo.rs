//! `kms demo`: the whole story in one run, on a server of its own, in a temporary directory. Every line that begins with `$` is a
//! command that is really run, by this binary again; every claim is checked before it is made.

use std::{
    fs,
    io::IsTerminal as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Instant,
};

use serde_json::Value;

use crate::{
    failure::{Exit, Failure},
    interruption::Interruption,
    own_server::OwnServer,
    print, words,
};

mod application;

const CHECKINS: &str = include_str!("../../../examples/attendance/checkins.csv");
/// Rows of the second day.
const MORE: usize = 250;
/// A line that fits a wide terminal.
const WIDTH: usize = 160;
const CELLS: &str =
    "--tenant acme --key attendance --table checkins --id id --column name --column phone --column location";

/// Tells the story.
///
/// # Errors
/// Where anything does not go as told.
pub async fn run() -> Result<(), Failure> {
    let begun = Instant::now();
    let mut interruption = Interruption::catch()?;
    let dir = tempfile::Builder::new()
        .prefix("kms-demo-")
        .tempdir()
        .map_err(|e| broken(format!("no directory: {e}")))?;
    let story = Arc::new(Story { dir: dir.path().to_owned(), bold: std::io::stdout().is_terminal() });
    // A signal that comes meanwhile waits until there is a server to stop.
    let server = apart(&story, Story::begin).await?;
    let telling = apart(&story, Story::tell_all);
    tokio::pin!(telling);
    let told = tokio::select! {
        biased;
        () = interruption.received() => None,
        told = &mut telling => Some(told),
    };
    server.stop();
    let told = match told {
        Some(told) => told,
        None => {
            // Without its server the story breaks off at its next command; then nobody writes to the directory any more.
            drop(telling.await);
            Err(Interruption::failure())
        }
    };
    drop(dir);
    told?;
    end(begun)
}

/// Runs a part of the story on a thread of its own: it waits for the commands it shows.
fn apart<T: Send + 'static>(
    story: &Arc<Story>,
    part: fn(&Story) -> Result<T, Failure>,
) -> impl Future<Output = Result<T, Failure>> + use<T> {
    let story = Arc::clone(story);
    let task = tokio::task::spawn_blocking(move || part(&story));
    async move { task.await.unwrap_or_else(|_| Err(broken("it broke off"))) }
}

struct Story {
    dir: PathBuf,
    bold: bool,
}

impl Story {
    fn tell_all(&self) -> Result<(), Failure> {
        self.first_day()?;
        self.rotation()?;
        self.denial()?;
        self.destruction()?;
        self.certificate()?;
        self.application()?;
        self.audit()
    }

    fn begin(&self) -> Result<OwnServer, Failure> {
        print::line(
            "The key centre keeps the keys of other people's data. This demo shows what that is good for:\n\
             an attendance service seals check-ins (who, which phone, where), a key is rotated, someone who\n\
             may not look is turned away, and a key is destroyed so that a stranger can check it. Nothing is left on\n\
             your disk after.\n",
        )?;
        let data = self.dir.join("server");
        fs::create_dir(&data).map_err(broken)?;
        let server = OwnServer::dev(&data, &[])?;
        print::line(&format!(
            "A server runs at {}, made for this demo, with certificates and policies of its own.",
            server.endpoint()
        ))?;
        Ok(server)
    }

    fn first_day(&self) -> Result<(), Failure> {
        self.chapter(
            "1. A tenant and a key",
            "The operator makes a tenant, acme, and a key. Operators manage keys; policy never lets them open data.\n\
             Applications get data keys on a lease of five seconds here, so that you need not wait long for its end.",
        )?;
        self.shown("operator", "tenant create acme", Exit::Done)?;
        self.shown("operator", "key create attendance --tenant acme --lease 5s", Exit::Done)?;

        self.write("checkins.csv", CHECKINS)?;
        self.chapter(
            "2. Sealing",
            "The attendance service seals three columns of 1,000 check-ins. It gets a data key on lease, in one call,\n\
             and seals on its own: names in a dozen scripts, line breaks and quotes come through as they are.",
        )?;
        let command = format!("columns seal {CELLS} checkins.csv sealed.csv");
        self.shown("attendance", &command, Exit::Done)?;
        let sealed = self.read("sealed.csv")?;
        let line =
            |text: &str| text.lines().find(|line| line.starts_with("0003,")).unwrap_or_default().to_owned();
        self.tell(&format!("before  {}\nafter   {}", line(CHECKINS), shortened(&line(&sealed))))
    }

    fn rotation(&self) -> Result<(), Failure> {
        self.chapter(
            "3. Rotation",
            "The operator rotates the key. New rows are sealed under version 2, old ones open on under version 1.\n\
             The service does nothing for it: every sealed value says which version it needs.",
        )?;
        self.shown("operator", "key rotate attendance --tenant acme", Exit::Done)?;
        self.write("checkins-2.csv", &second_day()?)?;
        self.shown("attendance", &format!("columns seal {CELLS} checkins-2.csv sealed-2.csv"), Exit::Done)?;
        // One table: the second file without its header.
        let both = |first: &str, second: &str| -> Result<String, Failure> {
            let (first, second) = (self.read(first)?, self.read(second)?);
            Ok(first + second.split_once('\n').map(|(_, rows)| rows).unwrap_or_default())
        };
        self.write("all-sealed.csv", &both("sealed.csv", "sealed-2.csv")?)?;
        self.write("all.csv", &both("checkins.csv", "checkins-2.csv")?)?;
        self.shown("attendance", &format!("columns open {CELLS} all-sealed.csv opened.csv"), Exit::Done)?;
        match self.read("opened.csv")? == self.read("all.csv")? {
            true => self.tell("The opened file is the original, byte for byte."),
            false => Err(broken("the opened file is not the original")),
        }
    }

    fn denial(&self) -> Result<(), Failure> {
        self.chapter(
            "4. Someone who may not",
            "The HR portal has a certificate too, and policy lets it see masked values only. It has the file, it has\n\
             the network, and it is turned away, on record:",
        )?;
        self.shown("hr-portal", &format!("columns open {CELLS} all-sealed.csv peek.csv"), Exit::Denied)?;
        match self.dir.join("peek.csv").exists() {
            true => Err(broken("a denied command left a file behind")),
            false => self.tell("No file was written: output is whole or absent."),
        }
    }

    fn destruction(&self) -> Result<(), Failure> {
        self.chapter(
            "5. Destruction",
            "Version 1 is destroyed. No copy of the sealed rows has to be hunted down, in backups or elsewhere:\n\
             without the key they are noise. Each destruction renews the secret that everything is wrapped under;\n\
             epoch 2 is the time of the second such secret.",
        )?;
        let destroy =
            "key destroy attendance --tenant acme --version 1 --reason retention-ended --ticket DEMO-1";
        self.shown("operator", destroy, Exit::Done)?;
        self.tell("The service opens everything again and is to leave sealed what does not open:")?;
        let open = format!("columns open {CELLS} --keep-going -o json all-sealed.csv left.csv");
        let output = self.run("attendance", &open, Exit::Partly)?;
        self.command("attendance", &open)?;
        let summary: Value = serde_json::from_slice(&output.stderr).unwrap_or_default();
        let of = |name: &str| words::thousands(summary[name].as_u64().unwrap_or_default());
        let reason = summary["problems"][0]["reason"].as_str().unwrap_or_default();
        let (rows, cells, failed) = (of("rows"), of("cells"), of("failed"));
        self.tell(&format!("{rows} rows: {cells} cells opened, {failed} did not ({reason}); exit code 7"))?;
        // What is left must be the sealed first day, untouched, and the opened second.
        let second = self.read("checkins-2.csv")?;
        let expected =
            self.read("sealed.csv")? + second.split_once('\n').map(|(_, rows)| rows).unwrap_or_default();
        match self.read("left.csv")? == expected {
            true => self.tell(
                "Exactly the 1,000 rows of version 1 stay sealed, for ever; all 250 of version 2 open.",
            ),
            false => Err(broken("other rows than those of version 1 were lost")),
        }
    }

    fn certificate(&self) -> Result<(), Failure> {
        self.chapter(
            "6. The certificate",
            "Compliance waits until the last lease has ended, takes the certificate of the destruction, and the log\n\
             that it rests on.",
        )?;
        let get = "cert get --tenant acme --key attendance --version 1 --wait 60s certificate.json";
        self.shown("compliance", get, Exit::Done)?;
        self.shown("compliance", "log key log.vkey", Exit::Done)?;
        self.shown("compliance", "log mirror mirror", Exit::Done)?;
        self.tell(
            "\nAn auditor checks that file on a laptop, without a network: signatures, the log entry by entry, that the\n\
             version stood in the committed state before and stands there no more. What cannot be proven is said, by\n\
             name; exit code 3 says that it is for a policy to accept these:",
        )?;
        let verify = "verify certificate.json --key log.vkey --mirror mirror --report report.html";
        let report = self.run("auditor", &format!("-o json {verify}"), Exit::Residual)?;
        self.command("auditor", verify)?;
        let found: Value = serde_json::from_slice(&report.stdout).unwrap_or_default();
        let checks = found["checks"].as_array().map(Vec::len).unwrap_or_default();
        let risks: Vec<_> =
            found["risks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let verdict = found["verdict"].as_str().unwrap_or_default();
        if verdict != "residual" || !self.read("report.html")?.contains("</html>") {
            return Err(broken(format!("the certificate is {verdict}")));
        }
        self.tell(&format!("erased; {checks} checks hold; residual risks: {}", risks.join(", ")))?;
        self.tell("\nThe same as a page to file was written to report.html. Now one byte of a copy is flipped, in the ticket:")?;
        let certificate = self.read("certificate.json")?;
        let forged = certificate.replacen("DEMO-1", "DEMO-3", 1);
        self.write("forged.json", &forged)?;
        let output = self.run("auditor", "verify forged.json --key log.vkey", Exit::Failed)?;
        self.command("auditor", "verify forged.json --key log.vkey")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in said.lines().filter(|line| line.starts_with("invalid") || line.contains("FAIL ")) {
            self.tell(&print::brief(line, WIDTH))?;
        }
        Ok(())
    }

    fn audit(&self) -> Result<(), Failure> {
        self.chapter(
            "8. The audit",
            "Everything above is on record: who, what, with which key, allowed by which rule. Each line carries the\n\
             hash of the one before, and now and then the server signs the last one, which vouches for all before it.\n\
             Compliance reads the audit, and checks a copy of it offline. (Each thread of the HR portal's command asked,\n\
             and each was denied: the open command has two.)",
        )?;
        self.shown("compliance", "audit query --tenant acme", Exit::Done)?;
        self.shown("compliance", "audit export exported", Exit::Done)?;
        self.shown("compliance", "audit verify exported", Exit::Done)?;
        self.tell("Now somebody makes the denial in that copy look allowed:")?;
        self.tamper()?;
        self.shown("compliance", "audit verify exported", Exit::Failed)?;
        self.tell("The line is named. Nothing vouches for what comes after the signed head before it: those are more lines than above.")
    }

    /// Changes one line of the exported audit.
    fn tamper(&self) -> Result<(), Failure> {
        for entry in fs::read_dir(self.dir.join("exported")).map_err(broken)? {
            let path = entry.map_err(broken)?.path();
            let text = fs::read_to_string(&path).map_err(broken)?;
            if text.contains("\"denied\"") {
                return fs::write(path, text.replacen("\"denied\"", "\"allowed\"", 1)).map_err(broken);
            }
        }
        Err(broken("the denial is not in the audit"))
    }

    /// Runs a command and shows it with what it says.
    fn shown(&self, who: &str, command: &str, expected: Exit) -> Result<(), Failure> {
        let output = self.run(who, command, expected)?;
        self.command(who, command)?;
        let said = [output.stdout, output.stderr].concat();
        for line in String::from_utf8_lossy(&said).lines() {
            self.tell(&print::brief(line, WIDTH))?;
        }
        Ok(())
    }

    fn run(&self, who: &str, command: &str, expected: Exit) -> Result<Output, Failure> {
        let myself = std::env::current_exe().map_err(broken)?;
        let output = Command::new(myself)
            .args(command.split_whitespace())
            .current_dir(&self.dir)
            .env("KMS_PROFILE", self.profile(who))
            .stdin(Stdio::null())
            .output()
            .map_err(broken)?;
        match output.status.code() == Some(expected as i32) {
            true => Ok(output),
            false => Err(broken(format!(
                "`kms {command}` as {who} ended with {}, not {}: {}",
                output.status,
                expected as i32,
                String::from_utf8_lossy(&output.stderr).trim()
            ))),
        }
    }

    fn profile(&self, who: &str) -> PathBuf {
        self.dir.join("server/profiles").join(format!("{who}.toml"))
    }

    fn chapter(&self, title: &str, text: &str) -> Result<(), Failure> {
        let (on, off) = if self.bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        print::line(&format!("\n{on}{title}{off}\n{text}"))
    }

    fn command(&self, who: &str, command: &str) -> Result<(), Failure> {
        let shown = command.replace(CELLS, "… --column name --column phone --column location");
        print::line(&format!("  {who}$ kms {shown}"))
    }

    fn tell(&self, text: &str) -> Result<(), Failure> {
        text.lines().try_for_each(|line| print::line(&format!("    {line}")))
    }

    fn read(&self, name: &str) -> Result<String, Failure> {
        fs::read_to_string(self.dir.join(name)).map_err(broken)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        fs::write(self.dir.join(name), text).map_err(broken)
    }
}

fn end(begun: Instant) -> Result<(), Failure> {
    print::line(&format!(
        "\nThat took {:.1} s; the server is stopped and its directory gone. What to try next:\n\
         \n  cargo run -p kms-server -- dev --data trial       a server that stays, for you alone, in a terminal of its own\
         \n  export KMS_PROFILE=trial/profiles/operator.toml   who you are: operator, attendance, hr-portal, compliance, …\
         \n  kms tenant create acme                            then `kms key create`, and `kms columns seal` on a file of yours\
         \n  kms policy explain --as spiffe://dev.local/hr-portal --operation Decrypt --tenant acme --key attendance\
         \n  kms --help                                        everything else; README.md says what is protected from whom\n\
         \n(`kms` is `cargo run -p kms-cli --` from the source tree.)",
        begun.elapsed().as_secs_f64()
    ))
}

/// The first rows of the first day, as the same people come in on the next.
fn second_day() -> Result<String, Failure> {
    let mut day = String::new();
    let mut rows = 0;
    for line in CHECKINS.split_inclusive('\n') {
        // A record begins with its four digits; other lines continue one.
        let begins = line.len() > 4
            && line.as_bytes()[..4].iter().all(u8::is_ascii_digit)
            && line.as_bytes()[4] == b',';
        rows += usize::from(begins);
        if rows > MORE {
            return Ok(day);
        }
        match begins {
            true => day.push_str(&format!("2-{line}")),
            false => day.push_str(line),
        }
    }
    Err(broken("the example has too few rows"))
}

/// A sealed line that fits a terminal.
fn shortened(line: &str) -> String {
    let short = |cell: &str| match cell.trim_matches('"').strip_prefix("kf1.") {
        Some(sealed) => format!("kf1.{}…", sealed.get(..12).unwrap_or_default()),
        None => cell.to_owned(),
    };
    line.split(',').map(short).collect::<Vec<_>>().join(",")
}

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::failed("DEMO_BROKEN", format!("the demo did not go as told: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_day_has_250_rows_and_the_header() {
        let day = second_day().unwrap();
        assert!(day.starts_with("id,company_id,") && day.ends_with('\n'));
        assert_eq!(day.matches("\n2-0").count(), MORE);
    }

    #[test]
    fn a_shortened_line_keeps_what_is_not_sealed() {
        assert_eq!(
            shortened("1,acme,kf1.AAAAAAAAAAAAAAAA,\"kf1.BBBBBBBBBBBBBBBB\""),
            "1,acme,kf1.AAAAAAAAAAAA…,kf1.BBBBBBBBBBBB…"
        );
    }
}
