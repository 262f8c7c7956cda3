# MaAudit.pm: the acceptance test of the flush at commit: a hostile mix of transactions, and the
# auditor that recomputes everything from the users' rows in snapshots taken while the mix runs.
#
# It uses nothing but psql and pgbench, found on PATH, and a superuser's connection by PGHOST, PGPORT,
# PGUSER and PGDATABASE. The server must have the library preloaded and allow prepared transactions.
# A comparison after everything has settled proves little (hot contacts heal themselves), so the
# auditor works online; test/mutants shows that it finds what it is there for.
package MaAudit;

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use POSIX ();

my $dir = dirname(dirname(abs_path(__FILE__))) . '/audit';

# Scripts of the mix and how often each is chosen.
my %mix = (
	auto => 30, async => 6, newcomer => 14, view => 25, multi => 12, flushed => 6, repeatable => 10, serializable => 4,
	serializable_sync => 2, prepare => 3, prepare_rollback => 1, do => 4, gift => 6, delete => 6,
	prune => 12, move => 8, flip => 10, time => 8, item => 6, rollback => 4, bulk => 2, truncate => 1,
	site => 4, rekey => 3, swap => 2, churn => 6, subscribe => 4, exclude => 4, address => 4,
	track => 8, identify => 3, merge => 2, split => 3,
);

# Errors the mix brings about itself: serialization failures of its transactions, cancels, timeouts,
# what follows them in the same transaction, and the violations it provokes.
my %allowed = map { $_ => 1 } qw(40001 57014 25P02 3B001 25P01 23505 23503 23514);

sub psql
{
	my ($sql, %option) = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";

	if ($pid == 0)
	{
		open(STDERR, '>&', \*STDOUT) unless $option{quiet};
		open(STDIN, '<', '/dev/null');
		exec('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-F', "\t", ref $sql ? ('-f', $$sql) : ('-c', $sql))
		  or POSIX::_exit(127);
	}
	local $/;
	my $text = <$out> // '';
	close($out);
	die "psql failed: $text" if $? != 0 && !$option{may_fail};
	$text =~ s/\n+\z//;
	return $text;
}

# Starts a process whose output goes to a file; returns its id.
sub start
{
	my ($file, %option) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	$ENV{$_} = $option{env}{$_} for keys %{ $option{env} // {} };
	open(STDIN, '<', '/dev/null');
	open(STDOUT, '>', $file);
	open(STDERR, '>&', \*STDOUT);
	if ($option{code})
	{
		$option{code}->();
		POSIX::_exit(0);
	}
	exec(@{ $option{command} }) or POSIX::_exit(127);
}

# Statements of the sessions that are cancelled and time out: psql goes on after an error.
sub statement
{
	my ($copies) = @_;
	my ($a, $b) = (1 + int(rand 40), 1 + int(rand 40));
	my $order = sub { "INSERT INTO orders (customer_id, status, created_at, total) VALUES ($_[0], 'new', clock_timestamp(), 3);\n" };
	my @kinds = (
		sub { $order->($a) },
		sub { "BEGIN;\n" . $order->($a) . $order->($b) . "COMMIT;\n" },
		sub { "BEGIN;\n" . $order->($a) . "SAVEPOINT s;\nSELECT marketing.flush();\nROLLBACK TO s;\n" . $order->($b) . "COMMIT;\n" },
		sub { "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . $order->($a) . "UPDATE orders SET status = 'paid' WHERE id IN "
			  . "(SELECT id FROM orders WHERE customer_id = $b ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);\nCOMMIT;\n" },
		sub { "DO \$\$ BEGIN FOR i IN 1..5 LOOP INSERT INTO orders (customer_id, status, created_at, total) "
			  . "VALUES ((i * 7 + $a) % 40 + 1, 'new', clock_timestamp(), 3); COMMIT; END LOOP; END \$\$;\n" },
		# from a file: after an error psql would take lines of data for statements
		sub { "\\copy orders (customer_id, status, created_at, total) FROM '$copies/orders'\n" },
		sub { "\\copy page_views (customer_id, site, viewed_at) FROM '$copies/page_views'\n" },
		# provoked violations, alone and in a savepoint
		sub { "INSERT INTO customers SELECT * FROM customers WHERE id = $a;\n" },
		sub { "INSERT INTO order_items (order_id, added_at, pieces) VALUES (-1, clock_timestamp(), 1);\n" },
		sub { "BEGIN;\n" . $order->($a) . "SAVEPOINT s;\n"
			  . "INSERT INTO order_items (order_id, added_at, pieces) VALUES (-1, clock_timestamp(), -1);\nROLLBACK TO s;\nCOMMIT;\n" },
		sub { "DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE customer_id = $a ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED);\n" },
	);
	return $kinds[ int(rand @kinds) ]->();
}

# Feeds a psql that goes on after errors until the time is over.
sub stream
{
	my ($seconds, $seed, $settings, $copies) = @_;
	my $end = time + $seconds;

	srand($seed);
	$SIG{PIPE} = 'IGNORE';
	open(my $psql, '|-', 'psql', '-Xqt') or die "psql: $!";
	$psql->autoflush(1);
	print $psql $settings;
	while (time < $end)
	{
		print $psql statement($copies) or last;
	}
	print $psql "ROLLBACK;\n";
	close($psql);
}

# Runs the mix and the audits; returns figures. The database must be empty.
#
# seconds, clients, seed; log: the server's log file; auditors: how many at once; enough: figures that
# must be reached, by rounds of so many seconds for at_most seconds (300) in all.
sub run
{
	my %o = (seconds => 15, clients => 8, seed => 1, auditors => 1, enough => {}, at_most => 300, @_);
	my $work = tempdir(CLEANUP => 1);
	my %started;
	my $app = sub { return { PGAPPNAME => $_[0], PGOPTIONS => $_[1] // '' } };
	my $log_start = $o{log} && -s $o{log} || 0;

	write_file("$work/orders", map { (1 + $_ % 40) . "\tcopied\t2026-01-01\t$_\n" } 1 .. 90);
	write_file("$work/page_views", map { (1 + $_ % 40) . "\t" . (1 + $_ % 3) . "\t2026-01-01\n" } 1 .. 20);
	psql(\"$dir/$_") for ('schema.sql', 'oracle.sql');
	psql('CALL marketing.work()');

	# A server with assertions stops at an EXCEPTION block in a deferred trigger, whoever's it is.
	my %left_out = map { $_ => 1 } psql('SHOW debug_assertions') eq 'on' ? ('gift') : ();
	# AUDIT_MIX="track=30 merge=5" runs only these.
	%mix = map { split /=/ } split / /, $ENV{AUDIT_MIX} if $ENV{AUDIT_MIX};
	my @scripts = map { ('-f', "$dir/mix/$_.sql\@$mix{$_}") } grep { !$left_out{$_} } sort keys %mix;
	my %figure = (failed => []);
	my $until = time + $o{at_most};

	# On a busy machine one round may check too little: go on until enough was checked.
	for (my $seed = $o{seed};; $seed += 10)
	{
		$started{mix} = start("$work/mix",
			command => [ 'pgbench', '-n', '-M', 'simple', '-c', $o{clients}, '-j', 2, '-T', $o{seconds}, '--max-tries=100',
				"--random-seed=$seed", @scripts ], env => $app->('audit_mix'));
		for my $n (1 .. $o{auditors})
		{
			$started{"auditor $n"} = start("$work/auditor$n",
				command => [ 'pgbench', '-n', '-M', 'simple', '-c', 1, '-T', $o{seconds}, '-D', "what='online'", '-D', 'begun=0', '-f', "$dir/audit.sql" ],
				env => $app->('auditor'));
		}
		$started{canceller} = start("$work/canceller",
			command => [ 'pgbench', '-n', '-c', 1, '-T', $o{seconds}, "--random-seed=$seed", '-f', "$dir/cancel.sql" ],
			env => $app->('audit_canceller'));
		$started{worker} = start("$work/worker",
			command => [ 'psql', '-Xq', '-c', "CALL marketing.work('$o{seconds} s')" ], env => $app->('audit_worker'));
		$started{hasty} = start("$work/hasty", env => $app->('audit_hasty'),
			code => sub { stream($o{seconds}, $seed + 1, "SET statement_timeout = 1;\n", $work) });
		$started{target} = start("$work/target", env => $app->('audit_target'),
			code => sub { stream($o{seconds}, $seed + 2, '', $work) });

		for my $name (sort keys %started)
		{
			waitpid($started{$name}, 0);
			next if $? == 0;
			(my $file = $name) =~ s/ //;
			my $text = slurp("$work/$file");
			push @{ $figure{failed} }, "$name ended with $?: " . substr($text, -2000);
		}
		end_prepared();
		figures(\%figure);
		last if @{ $figure{failed} } || time >= $until || !grep { $figure{$_} < $o{enough}{$_} } keys %{ $o{enough} };
	}
	my $bench = slurp("$work/mix");
	($figure{tps}) = $bench =~ /^tps = ([\d.]+)/m;
	($figure{transactions}) = $bench =~ /transactions actually processed: (\d+)/;
	($figure{given_up}) = $bench =~ /number of failed transactions: (\d+)/;
	($figure{retried}) = $bench =~ /transactions retried: (\d+)/;
	settle(\%figure);
	figures(\%figure);
	read_log(\%figure, $o{log}, $log_start) if $o{log};
	return \%figure;
}

# Sessions that were cut off may have left some behind.
sub end_prepared
{
	for my $gid (split /\n/, psql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"))
	{
		psql("ROLLBACK PREPARED '$gid'");
	}
}

# Nobody changes anything any more: the logs run empty, and everything is compared once more.
sub settle
{
	my ($figure) = @_;
	end_prepared();
	my $waiting = 'SELECT (SELECT count(*) FROM marketing_internal.dirty) + (SELECT count(*) FROM marketing_internal.capture_row)';
	# What rests after an error is not waited for: there must be none.
	for my $try (1 .. 20)
	{
		psql('CALL marketing.work()', quiet => 1);
		last if psql($waiting) eq '0';
		select(undef, undef, undef, 0.1);
	}
	$figure->{left_over} = psql("SELECT 'dirty', to_jsonb(d) FROM marketing_internal.dirty AS d UNION ALL "
		  . "SELECT 'capture_row', to_jsonb(c) FROM marketing_internal.capture_row AS c LIMIT 20");
	$figure->{errors_left} = psql('SELECT what, sqlstate, message, attempts FROM marketing.errors LIMIT 20');
	psql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT audit.begin(); SELECT audit.audit('final'); COMMIT", quiet => 1);
}

sub figures
{
	my ($figure) = @_;
	my @names = qw(audits states skipped anybody overdue reads keys fields occurrences bad);
	my @values = split /\t/, psql(<<'SQL');
SELECT count(*), sum(states), round(100 * (1 - sum(states)::numeric / nullif(sum(contacts * (SELECT count(*) FROM audit.counter)), 0)), 1),
	count(*) FILTER (WHERE anybody), sum(overdue), sum(reads), sum(keys), sum(fields), sum(occurrences), sum(bad)
FROM audit.run WHERE what = 'online'
SQL
	@$figure{@names} = map { $_ eq '' ? 0 : $_ } @values;
	$figure->{bad_final} = psql("SELECT sum(bad) FROM audit.run WHERE what = 'final'");
	$figure->{bad_kinds} = psql("SELECT string_agg(kind || ' ' || n, ', ') FROM (SELECT kind, count(*) AS n FROM audit.bad GROUP BY 1 ORDER BY 1) AS k");
	$figure->{bad_first} = psql('SELECT audit_id, kind, object, detail FROM audit.bad ORDER BY audit_id, kind, object LIMIT 12');
	$figure->{deadlocks} = psql('SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()');
	$figure->{status} = psql("SELECT item, state, value, detail FROM marketing_internal.capture_status()");
	return;
}

# Errors by SQLSTATE: the server's log_line_prefix must have <%e>. Errors swallowed at commit stand in
# the log with log_min_messages = debug1; only lock timeouts may be among them.
sub read_log
{
	my ($figure, $file, $start) = @_;
	my %count;
	my @strange;

	open(my $log, '<', $file) or die "$file: $!";
	seek($log, $start, 0);
	while (my $line = <$log>)
	{
		push @strange, $line if $line =~ /PANIC|TRAP:|was terminated by signal|deadlock detected/ && @strange < 40;
		$figure->{swallowed}{$1}++ if $line =~ /marketing_automation left \d+ changes to the worker: (.*)/;
		next unless $line =~ /<(\w{5})> (?:ERROR|FATAL|WARNING):/;
		$count{$1}++;
		push @strange, $line if !$allowed{$1} && $1 ne '00000' && @strange < 20;
	}
	close($log);
	$figure->{errors} = \%count;
	$figure->{strange} = \@strange;
}

sub slurp
{
	my ($file) = @_;
	local $/;
	open(my $in, '<', $file) or return '';
	return <$in> // '';
}

sub write_file
{
	my ($file, @lines) = @_;
	open(my $out, '>', $file) or die "$file: $!";
	print $out @lines;
	close($out) or die "$file: $!";
}

# The figures as lines of text.
sub report
{
	my ($f) = @_;
	my $errors = join ', ', map { "$_ x $f->{errors}{$_}" } sort keys %{ $f->{errors} // {} };
	my $text = sprintf("mix: %s transactions (%s tps), %s retried, %s given up; errors: %s; deadlocks %s\n",
		$f->{transactions} // '?', $f->{tps} // '?', $f->{retried} // 0, $f->{given_up} // '?', $errors, $f->{deadlocks});
	$text .= sprintf("audits: %d (%d with anybody behind), states %d (%s %% skipped, %d overdue), reads %d, keys %d, fields %d, occurrences %d\n",
		@$f{qw(audits anybody states skipped overdue reads keys fields occurrences)});
	$text .= sprintf("bad: %d online, %s at the end%s\n", $f->{bad}, $f->{bad_final}, $f->{bad_kinds} ? " ($f->{bad_kinds})" : '');
	$text .= 'swallowed at commit: ' . join(', ', map { "$_ x $f->{swallowed}{$_}" } sort keys %{ $f->{swallowed} }) . "\n"
	  if $f->{swallowed};
	$text .= "$f->{bad_first}\n" if $f->{bad_first};
	$text .= "left over:\n$f->{left_over}\n" if $f->{left_over};
	$text .= "errors left:\n$f->{errors_left}\n" if $f->{errors_left};
	$text .= "failed: $_\n" for @{ $f->{failed} };
	$text .= "log: $_" for @{ $f->{strange} // [] };
	return $text . "$f->{status}\n";
}

# What is wrong with a run, as lines; none if nothing is. How much was checked is the caller's to judge.
sub wrong
{
	my ($f) = @_;
	my @wrong;
	push @wrong, "$f->{bad} bad in snapshots" if $f->{bad} != 0;
	push @wrong, "$f->{bad_final} bad at the end" if $f->{bad_final} != 0;
	push @wrong, "$f->{deadlocks} deadlocks" if $f->{deadlocks} != 0;
	push @wrong, 'rows left in the logs' if $f->{left_over} ne '';
	push @wrong, "swallowed at commit: $_" for grep { !/^canceling statement due to lock timeout|^could not serialize/ } keys %{ $f->{swallowed} // {} };
	push @wrong, @{ $f->{failed} };
	push @wrong, map { "in the log: $_" } @{ $f->{strange} // [] };
	return @wrong;
}

1;
