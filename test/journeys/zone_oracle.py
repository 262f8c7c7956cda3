#!/usr/bin/env python3
"""When things fall due on the wall of every zone, computed by Python's zoneinfo.

zone_oracle.py DIRECTORY ZONEINFO YEARS < names of zones

Nothing here is PostgreSQL's or ours but the time zone files themselves. DIRECTORY receives what COPY reads:
people (one for each zone and change of its clock in YEARS, as "2011,2024-2026"), probes (instants around that
change at which they enter), live (one of each zone at instants that are the same for all, so that a clock can be
set to them) and expected (what each kind of wait, window and date then tells).

The rules, as the README states them: a time of the wall that does not exist is the first instant after the gap,
one that comes twice is the first of the two; days and months go by the wall, hours do not.
"""
import hashlib
import os
import sys
import zoneinfo
from datetime import date, datetime, timedelta, timezone

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOLIDAYS = {date(2025, 3, 30), date(2026, 3, 29), date(2026, 3, 30), date(2024, 11, 3)}
# Where people enter, counted from the change of the clock.
AROUND = [-31 * 86400, -2 * 86400 - 5400, -2 * 86400 - 1800, -2 * 86400 - 1, -2 * 86400, -2 * 86400 + 1800,
          -86400, -7200, -1, 0, 1800, 5400]
# Where many clocks are changed: New York, London, Sydney, their neighbours.
LIVE = [datetime(2026, *at, tzinfo=UTC) for at in
        ((3, 6, 7, 30), (3, 8, 6, 59, 59), (3, 27, 0, 30), (3, 29, 0, 59, 59), (4, 4, 15, 45), (10, 3, 15, 30),
         (10, 25, 0, 30), (11, 1, 5, 30))]


def wall(at, zone):
    """What the wall shows at an instant."""
    return at.astimezone(zone).replace(tzinfo=None)


def instant(local, zone):
    """The instant a time of the wall stands for."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall(first, zone) == local:
        return first
    # In a gap: it begins between what the two offsets make of the time.
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = first
    while after - before > SECOND:
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if wall(middle, zone) < local:
            before = middle
        else:
            after = middle
    return after


def months_on(local, months):
    month = local.month - 1 + months
    year, month = local.year + month // 12, month % 12 + 1
    last = (date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)).day
    return local.replace(year=year, month=month, day=min(local.day, last))


def after(at, zone, months=0, days=0, hours=0):
    """So long after an instant."""
    if not months and not days:
        return at + timedelta(hours=hours)
    return instant(months_on(wall(at, zone), months) + timedelta(days=days), zone) + timedelta(hours=hours)


def clock(text):
    hour, minute = text.split(':')
    return timedelta(hours=int(hour), minutes=int(minute))


def window(day, begins, ends, zone):
    """The interval of instants of one day's window."""
    midnight = datetime(day.year, day.month, day.day)
    begins, ends = clock(begins), clock(ends)
    if ends <= begins:
        ends += timedelta(days=1)
    return instant(midnight + begins, zone), instant(midnight + ends, zone)


def opens(at, zone, begins, ends, days=None, holidays=False):
    """The first instant within a window, this one or later."""
    day = wall(at, zone).date() - timedelta(days=2)
    while True:
        if (days is None or day.strftime('%a').lower() in days) and not (holidays and day in HOLIDAYS):
            first, last = window(day, begins, ends, zone)
            if first < last and at < last:
                return max(at, first)
        day += timedelta(days=1)


def next_time(at, zone, time):
    """The first instant, this one or later, at which a day's time has come."""
    day = wall(at, zone).date() - timedelta(days=2)
    while True:
        begins = instant(datetime(day.year, day.month, day.day) + clock(time), zone)
        if begins >= at:
            return begins
        day += timedelta(days=1)


def not_quiet(at, zone, begins, ends):
    """The first instant outside of quiet hours; where a day is skipped two nights may touch."""
    while True:
        today = wall(at, zone).date()
        for day in (today + timedelta(days=n) for n in (-2, -1, 0, 1)):
            first, last = window(day, begins, ends, zone)
            if first <= at < last:
                at = last
                break
        else:
            return at


WAITS = {
    'days': lambda at, zone: after(at, zone, days=2),
    'hours': lambda at, zone: after(at, zone, hours=48),
    'day_hours': lambda at, zone: after(at, zone, days=1, hours=12),
    'month': lambda at, zone: after(at, zone, months=1),
    'at': lambda at, zone: next_time(at, zone, '02:30'),
    'between': lambda at, zone: opens(at, zone, '01:30', '03:15', ('fri', 'sun', 'mon'), True),
    'night': lambda at, zone: opens(at, zone, '22:00', '02:15', ('sat', 'sun')),
    'quiet': lambda at, zone: not_quiet(at, zone, '23:00', '02:30'),
    'send_window': lambda at, zone: opens(at, zone, '02:15', '04:00', ('sun', 'mon', 'wed', 'sat'), True),
}


def occurs(year, born, leap):
    if born.month == 2 and born.day == 29 and (year % 4 or (year % 100 == 0 and year % 400)):
        return date(year, 3, 1) if leap == 'mar1' else date(year, 2, 28)
    return date(year, born.month, born.day)


def of_day(day, zone, at, days=0, hours=0):
    """The instant a date tells, with an offset."""
    midnight = datetime(day.year, day.month, day.day)
    return instant(midnight + clock(at) + timedelta(days=days), zone) + timedelta(hours=hours)


DATES = {
    'date': lambda day, zone: of_day(day, zone, '02:30'),
    'date_before': lambda day, zone: of_day(day + timedelta(days=3), zone, '00:30', days=-3),
    'date_hours': lambda day, zone: of_day(day, zone, '01:45', days=0, hours=-36),
}
YEARLY = {
    'birthday': (lambda day, zone: of_day(day, zone, '01:30'), 'feb28'),
    'birthday_mar1': (lambda day, zone: of_day(day, zone, '02:30', days=-1), 'mar1'),
}


def changes(zone, year):
    """The instants of a year at which the zone's clock is changed."""
    at = datetime(year, 1, 1, tzinfo=UTC)
    end = datetime(year + 1, 1, 1, tzinfo=UTC)
    while at < end:
        then = at + timedelta(hours=12)
        if at.astimezone(zone).utcoffset() != then.astimezone(zone).utcoffset():
            before, behind = at, then
            while behind - before > SECOND:
                middle = before + timedelta(seconds=int((behind - before).total_seconds()) // 2)
                if middle.astimezone(zone).utcoffset() == at.astimezone(zone).utcoffset():
                    before = middle
                else:
                    behind = middle
            yield behind
        at = then


def years_of(text):
    for part in text.split(','):
        first, _, last = part.partition('-')
        yield from range(int(first), int(last or first) + 1)


def main():
    directory, files, years = sys.argv[1], sys.argv[2], list(years_of(sys.argv[3]))
    zoneinfo.reset_tzpath([files])
    seen = set()
    person = 0
    probe = 0
    out = {name: open(os.path.join(directory, name), 'w') for name in ('people', 'probes', 'live', 'expected')}

    def expect(kind, who, which, at):
        out['expected'].write('%s\t%d\t%d\t%s\n' % (kind, who, which, at.isoformat()))

    def enters(file, start):
        nonlocal probe
        probe += 1
        out[file].write('%d\t%d\t%s\n' % (probe, person, start.isoformat()))
        for kind, wait in WAITS.items():
            expect(kind, person, probe, wait(start, zone))

    for name in sys.stdin.read().split():
        zone = zoneinfo.ZoneInfo(name)
        with open(os.path.join(files, name), 'rb') as file:
            content = hashlib.sha256(file.read()).digest()
        # An alias has the last of the years alone.
        mine = [years[-1]] if content in seen else years
        seen.add(content)
        moments = [at for year in mine for at in changes(zone, year)]
        for at in moments or [datetime(years[-1], 6, 15, tzinfo=UTC)]:
            person += 1
            day = wall(at - SECOND, zone).date()
            born = date(1992, 2, 29) if person % 5 == 0 else date(1984 + person % 9, day.month, min(day.day, 28) if day.month == 2 else day.day)
            out['people'].write('%d\t%s\t%s\t%s\t%s\n' % (person, name, day, day + timedelta(days=3), born))
            for seconds in AROUND:
                enters('probes', at + timedelta(seconds=seconds))
            for kind, tell in DATES.items():
                expect(kind, person, 0, tell(day, zone))
            for kind, (tell, leap) in YEARLY.items():
                for year in range(years[0] - 1, years[-1] + 2):
                    expect(kind, person, 0, tell(occurs(year, born, leap), zone))
        for start in LIVE:
            enters('live', start)
    for file in out.values():
        file.close()
    print('%d people, %d probes' % (person, probe))


if __name__ == '__main__':
    main()
