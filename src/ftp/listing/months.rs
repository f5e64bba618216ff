//! The names of months in the languages and charsets that servers write them in.

use std::{collections::HashMap, sync::OnceLock};

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GBK, IBM866, ISO_8859_2, ISO_8859_5, ISO_8859_7, KOI8_R,
    SHIFT_JIS, UTF_8, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252, WINDOWS_1253, WINDOWS_1254,
};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// The charsets of one script besides UTF-8.
type Charsets = &'static [&'static Encoding];

const WESTERN: Charsets = &[WINDOWS_1252];
const CENTRAL: Charsets = &[WINDOWS_1250, ISO_8859_2];
const TURKISH: Charsets = &[WINDOWS_1254];
const CYRILLIC: Charsets = &[WINDOWS_1251, KOI8_R, IBM866, ISO_8859_5];
const GREEK: Charsets = &[WINDOWS_1253, ISO_8859_7];
const ASIAN: Charsets = &[GBK, BIG5, SHIFT_JIS, EUC_JP, EUC_KR];

/// Language, charsets, and the names from January to December: several forms of one are joined by `|`. A beginning of three letters
/// or more stands for a name, unless it is the beginning of another month's too.
#[rustfmt::skip]
const LANGUAGES: &[(&str, Charsets, &str)] = &[
    ("English", &[], "jan|january feb|february mar|march apr|april may jun|june jul|july aug|august sep|sept|september oct|october nov|november dec|december"),
    ("German", WESTERN, "januar|jän|jänner februar|feber märz|mrz|maerz april mai juni juli august september oktober november dezember"),
    ("French", WESTERN, "janvier février mars|mrs avril mai juin juillet|juil août septembre octobre novembre décembre"),
    ("Spanish", WESTERN, "enero febrero marzo abril mayo junio julio agosto septiembre|setiembre octubre noviembre diciembre"),
    ("Italian", WESTERN, "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"),
    ("Portuguese", WESTERN, "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro"),
    ("Catalan", WESTERN, "gener febrer març abril maig juny juliol agost|ag setembre octubre novembre desembre"),
    ("Dutch", WESTERN, "januari februari maart|mrt april mei juni juli augustus september oktober november december"),
    ("Swedish", WESTERN, "januari februari mars april maj juni juli augusti september oktober november december"),
    ("Danish", WESTERN, "januar februar marts april maj juni juli august september oktober november december"),
    ("Norwegian", WESTERN, "januar februar mars april mai juni juli august september oktober november desember"),
    ("Finnish", WESTERN, "tammikuu helmikuu maaliskuu huhtikuu toukokuu kesäkuu heinäkuu elokuu syyskuu lokakuu marraskuu joulukuu"),
    ("Estonian", WESTERN, "jaanuar veebruar märts aprill mai juuni juuli august september oktoober november detsember"),
    ("Indonesian", &[], "januari februari maret april mei juni juli agustus|agt september oktober november desember"),
    ("Polish", CENTRAL, "styczeń|stycznia luty|lutego marzec|marca kwiecień|kwietnia maj|maja czerwiec|czerwca lipiec|lipca sierpień|sierpnia wrzesień|września październik|października listopad|listopada grudzień|grudnia"),
    ("Czech", CENTRAL, "leden|ledna únor|února březen|března duben|dubna květen|května červen|června|čen červenec|července|čec srpen|srpna září říjen|října listopad|listopadu prosinec|prosince"),
    ("Slovak", CENTRAL, "január február marec apríl máj jún júl august september október november december"),
    ("Hungarian", CENTRAL, "január február március április május június július augusztus szeptember október november december"),
    ("Romanian", CENTRAL, "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie"),
    ("Turkish", TURKISH, "ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık"),
    ("Russian", CYRILLIC, "январь|января февраль|февраля март|марта апрель|апреля май|мая июнь|июня июль|июля август|августа сентябрь|сентября октябрь|октября ноябрь|ноября декабрь|декабря"),
    ("Ukrainian", CYRILLIC, "січень|січня лютий|лютого березень|березня квітень|квітня травень|травня червень|червня липень|липня серпень|серпня вересень|вересня жовтень|жовтня листопад|листопада грудень|грудня"),
    ("Bulgarian", CYRILLIC, "януари февруари март април май юни юли август септември октомври ноември декември"),
    ("Greek", GREEK, "ιανουάριος|ιανουαρίου φεβρουάριος|φεβρουαρίου μάρτιος|μαρτίου απρίλιος|απριλίου μάιος|μαΐου ιούνιος|ιουνίου ιούλιος|ιουλίου αύγουστος|αυγούστου σεπτέμβριος|σεπτεμβρίου οκτώβριος|οκτωβρίου νοέμβριος|νοεμβρίου δεκέμβριος|δεκεμβρίου"),
    ("Chinese", ASIAN, "一月|元月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月"),
];

/// Letters with accents in the charsets of DOS (code pages 437 and 850), as far as months have them.
const DOS: [(char, u8); 12] = [
    ('é', 0x82),
    ('ä', 0x84),
    ('ç', 0x87),
    ('û', 0x96),
    ('á', 0xA0),
    ('í', 0xA1),
    ('ó', 0xA2),
    ('ú', 0xA3),
    ('ü', 0x81),
    ('ö', 0x94),
    ('è', 0x8A),
    ('É', 0x90),
];

/// The month that a word names in any language, a full stop or comma behind it or not; a number is one only with the word for "month"
/// of an Asian language at its end.
pub(super) fn month(word: &[u8]) -> Option<u32> {
    let word = word.trim_ascii_end();
    let end = word.iter().rposition(|byte| !matches!(byte, b'.' | b','))?;
    let word = word.get(..=end)?;
    if word.len() > 40 {
        return None;
    }
    if let Some(digits) = word.iter().position(|byte| !byte.is_ascii_digit())
        && digits > 0
    {
        let (number, unit) = word.split_at_checked(digits)?;
        let month = super::time::digits_up_to_two(number)?;
        return (is_unit(unit) && (1..=12).contains(&month)).then_some(month);
    }
    let found = table().get(&*word.to_ascii_lowercase()).copied()?;
    (found != AMBIGUOUS).then_some(found)
}

/// What an Asian language puts behind the number of a year, month or day: one or two characters of whatever charset. The second byte of
/// some may be ASCII.
pub(super) fn is_unit(text: &[u8]) -> bool {
    text.len() <= 6 && text.first().is_some_and(|byte| !byte.is_ascii())
}

const AMBIGUOUS: u32 = 0;

type Table = HashMap<Box<[u8]>, u32>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        // Whole names first: they count for more than beginnings.
        let mut table = Table::new();
        each_name(|name, charsets, month| add(&mut table, name, charsets, month));
        let mut beginnings = Table::new();
        each_name(|name, charsets, month| {
            for (at, _) in name.char_indices().skip(3) {
                let beginning = name.get(..at).unwrap_or_default();
                add(&mut beginnings, beginning, charsets, month);
            }
        });
        for (beginning, month) in beginnings {
            table.entry(beginning).or_insert(month);
        }
        table
    })
}

fn each_name(mut take: impl FnMut(&str, Charsets, u32)) {
    for (_, charsets, months) in LANGUAGES {
        for (month, names) in (1..).zip(months.split(' ')) {
            for name in names.split('|') {
                take(name, charsets, month);
            }
        }
    }
}

/// Adds a name in all charsets: in small letters, with a capital, in capitals, and without accents.
fn add(table: &mut Table, name: &str, charsets: Charsets, month: u32) {
    let mut capital = name.chars();
    let capital: String = (capital.next().into_iter())
        .flat_map(char::to_uppercase)
        .chain(capital)
        .collect();
    let plain: String = name
        .nfd()
        .filter(|char| !is_combining_mark(*char))
        .collect();
    for form in [name, &capital, &name.to_uppercase(), &plain] {
        let mut add = |bytes: Vec<u8>| {
            let found = table
                .entry(bytes.to_ascii_lowercase().into())
                .or_insert(month);
            if *found != month {
                *found = AMBIGUOUS;
            }
        };
        for charset in charsets.iter().chain([&UTF_8]) {
            let (bytes, _, lacks_characters) = charset.encode(form);
            if !lacks_characters {
                add(bytes.into_owned());
            }
        }
        let dos = |char: char| match DOS.iter().find(|(known, _)| *known == char) {
            Some((_, byte)) => Some(*byte),
            None => u8::try_from(char).ok().filter(u8::is_ascii),
        };
        if let Some(bytes) = form.chars().map(dos).collect() {
            add(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_names_twelve_months() {
        for (language, _, months) in LANGUAGES {
            assert_eq!(months.split(' ').count(), 12, "{language}");
            for (number, names) in (1..).zip(months.split(' ')) {
                for name in names.split('|') {
                    assert_eq!(month(name.as_bytes()), Some(number), "{language}: {name}");
                }
            }
        }
    }

    #[test]
    fn months_are_known_by_their_beginnings_and_in_old_charsets() {
        let cases: [(&[u8], u32); 39] = [
            (b"Jan", 1),
            (b"OKT", 10),
            (b"Dez.", 12),
            (b"janv.", 1),
            (b"Juli,", 7),
            (b"M\xC3\xA4r", 3),
            (b"M\xE4r", 3),
            (b"M\x84r", 3),
            (b"Mrz", 3),
            (b"f\xE9vr.", 2),
            (b"d\xC3\xA9c.", 12),
            (b"d\x82c.", 12),
            (b"ao\xFBt", 8),
            (b"aout", 8),
            (b"ene", 1),
            (b"dic", 12),
            (b"gen", 1),
            (b"ott", 10),
            (b"fev", 2),
            (b"out", 10),
            (b"mei", 5),
            (b"maj", 5),
            (b"des.", 12),
            (b"hein\xC3\xA4", 7),
            (b"marras", 11),
            (b"mar", 3),
            (b"szept", 9),
            (b"pa\xBC", 10),
            (b"pa\x9F", 10),
            (b"lis", 11),
            (b"srp", 8),
            (b"\xC5\x9Eub", 2),
            (b"A\xF0u", 8),
            (b"\xD1\xCE\xD7", 1),
            (b"8\xE6\x9C\x88", 8),
            (b"8\xD4\xC2", 8),
            (b"12\xEC\x9B\x94", 12),
            (b"4\x8C\x8E", 4),
            (b"\xCA\xAE\xD2\xBB\xD4\xC2", 11),
        ];
        for (word, number) in cases {
            assert_eq!(month(word), Some(number), "{}", word.escape_ascii());
        }
        assert_eq!(month("фев".as_bytes()), Some(2));
        // June and July begin alike in French.
        for none in [
            &b"jui"[..],
            b"8",
            b"13\xE6\x9C\x88",
            b"",
            b".",
            b"xyz",
            b"ja",
            b"8th",
        ] {
            assert_eq!(month(none), None, "{}", none.escape_ascii());
        }
    }
}
