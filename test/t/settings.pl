# deploydb.conf.sample: every setting, with its default, and as the server
# reads it.
use strict;
use warnings;
use utf8;

use Encode qw(decode);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $bytes = slurp_file('deploydb.conf.sample');
my $sample = decode('UTF-8', $bytes);
(my $uncommented = $bytes) =~ s/^#(?=[a-z_.]+ = )//mg;
my %given = $uncommented =~ /^(deploydb\.\w+) = (.*)$/mg;

my $node = PostgreSQL::Test::Cluster->new('settings');
$node->init;
$node->append_conf('postgresql.conf', $uncommented);
$node->start;

my $known = $node->safe_psql('postgres', q{
	SELECT name || '|' || setting || '|' || boot_val || '|' || context || '|' || source || '|' || COALESCE(unit, '')
	FROM pg_settings WHERE name LIKE 'deploydb.%' ORDER BY name});
my @names;
for (split /\n/, $known)
{
	my ($name, $setting, $default, $context, $source, $unit) = split /\|/, $_, -1;
	push @names, $name;
	is($setting, $default, "$name: its default");
	is($source, 'configuration file', "$name: taken from the file");
	my %word = (postmaster => 'restart', sighup => 'reload', user => 'session', superuser => 'superuser');
	my ($before) = $sample =~ /((?:^#[^\n]*\n)+)^#\Q$name\E = /m;
	like($before, qr/\($word{$context}\)/, "$name: says when it takes effect");
	like($before, qr/\p{Han}/, "$name: in Chinese, too");
	my %chinese = (ms => '毫秒', s => '秒');
	is(join(' ', $before =~ /(?:Unit: |单位：)(\w+)/g), $unit && "$unit $chinese{$unit}", "$name: its unit, in both languages");
}
is_deeply([ sort keys %given ], \@names, 'every setting, and no other');
like($sample, qr/\b$_\b/, "$_ of the checklist")
  for qw(WORKER_LEADER METRICS_COLLECTION_INTERVAL ALERT_WEBHOOK_URL SLACK_WEBHOOK_URL);

$node->append_conf('postgresql.conf', 'deploydb.metrics_collection_interval = 30000');
$node->reload;
is($node->safe_psql('postgres', 'SHOW deploydb.metrics_collection_interval'), '30s',
	"the checklist's 30000 is 30 s");

my $share = $node->config_data('--sharedir');
ok(-f "$share/extension/deploydb.conf.sample", 'installed with the extension');

done_testing();
