# MaMail.pm: mail and HTTP servers of the tests, each a process of its own on 127.0.0.1 that writes down
# what it takes before it answers (mail_server.py, http_server.py). Whatever is started here is ended at
# the end of the test, by its process id, and ends by itself later than any test lasts.
package MaMail;

use strict;
use warnings;
use Exporter 'import';
use File::Basename;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

our @EXPORT = qw(start_peer stop_peer restart_peer ledger_of commands_of open_at tell_peer certificate mail_shop);

my %peers;
my $here = dirname(__FILE__);
my $python = $ENV{PYTHON} || 'python3';

# Starts SCRIPT with options (name => value); returns what the other functions take.
sub start_peer
{
	my ($script, %options) = @_;
	my $peer = { folder => PostgreSQL::Test::Utils::tempdir(), script => $script, options => \%options };
	run_peer($peer);
	return $peer;
}

sub run_peer
{
	my ($peer) = @_;
	my $folder = $peer->{folder};
	my @words = map { "$_=$peer->{options}{$_}" } sort keys %{ $peer->{options} };

	unlink "$folder/port";
	my $pid = fork() // die "cannot fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$folder/log");
		open(STDERR, '>>', "$folder/log");
		exec($python, "$here/$peer->{script}", $folder, @words) or exit 1;
	}
	$peers{$pid} = $peer;
	$peer->{pid} = $pid;
	for (1 .. 3000)
	{
		last if -s "$folder/port" || waitpid($pid, 1) != 0;
		Time::HiRes::usleep(10_000);
	}
	die "$peer->{script} did not start: " . slurp_file("$folder/log") unless -s "$folder/port";
	$peer->{port} = slurp_file("$folder/port");
	$peer->{options}{port} = $peer->{port};
}

sub stop_peer
{
	my ($peer) = @_;
	return unless delete $peers{ $peer->{pid} };
	kill('KILL', $peer->{pid});
	waitpid($peer->{pid}, 0);
}

# On the same port, with the same ledger; options may change.
sub restart_peer
{
	my ($peer, %options) = @_;
	stop_peer($peer);
	$peer->{options}{$_} = $options{$_} foreach keys %options;
	run_peer($peer);
}

# What it has taken: a list of hashes.
sub ledger_of
{
	my ($peer) = @_;
	return () unless -e "$peer->{folder}/ledger";
	return map { decode_json($_) } split /\n/, slurp_file("$peer->{folder}/ledger");
}

sub commands_of
{
	my ($peer) = @_;
	return split /\n/, slurp_file("$peer->{folder}/commands");
}

# How many connections it has now.
sub open_at
{
	my ($peer) = @_;
	my $text = slurp_file("$peer->{folder}/connections");
	return ($text =~ tr/+//) - ($text =~ tr/-//);
}

# Directives by stage from now on; none: it does what it should.
sub tell_peer
{
	my ($peer, %directives) = @_;
	my $file = "$peer->{folder}/directives";

	unlink $file;
	return unless %directives;
	append_to_file("$file.new", encode_json(\%directives));
	rename "$file.new", $file;
}

# A certificate that certifies itself, for localhost: (certificate, key) as file names.
sub certificate
{
	my ($folder, $name) = @_;
	my ($certificate, $key) = ("$folder/$name.crt", "$folder/$name.key");

	system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj',
		"/CN=$name", '-addext', "subjectAltName=DNS:$name", '-keyout', $key, '-out', $certificate);
	return ($certificate, $key);
}

# A shop of n customers in the node's database, with a topic and templates, armed; no sender yet.
sub mail_shop
{
	my ($node, $n) = @_;
	$node->safe_psql('postgres', qq{
		CREATE EXTENSION marketing_automation;
		SELECT marketing.define_topic('offers');
		CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, news boolean DEFAULT true);
		INSERT INTO customers SELECT i, 'c' || i || '\@example.com', '+90532' || (1000000 + i) FROM generate_series(1, $n) AS i;
		SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone', consent => '{"offers/email": "news"}');
		SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer {{ contact.id }}', text => 'Hello, number {{ contact.id }}.
.with a dot');
		SELECT marketing.define_template('receipt', topic => 'transactional', subject => 'Receipt', text => 'Thanks.');
		SELECT marketing.configure('public_url', 'https://m.shop.example');
		SELECT marketing.arm();
	});
}

END
{
	my $code = $?;
	stop_peer($_) foreach values %peers;
	$? = $code;
}

1;
