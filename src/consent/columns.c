/*
 * columns.c
 *		Consent columns of attached tables: the present values are the first entries
 *		of the ledger, each later change of a column appends one.
 *
 * true or a time means opted in, false opted out, null none.  A value is compared
 * with what the same row said before, not with the present state: who unsubscribes
 * by a link stays so while his row still says true, until the row says something new.
 * A column that becomes null takes back what a column has said, and nothing else: to say
 * nothing is no consent for a topic of kind opt_out that was withdrawn from.
 *
 * While contacts are evaluated the recipients' locks are only tried: a claim that
 * holds one is either ordered before our commit, or its second look before the network
 * finds what we wrote.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "consent/consent_internal.h"
#include "utils/builtins.h"
#include "worker/worker.h"

static void check(const char *name);
static MaTopic *topic_and_channel(const char *name, char **channel);
static MaConsentState state_of(const char *value);
static void changed(MaMappedChange *mapped, int n, bool evaluating);
static char *summary(const MaSource *source);
static List *uses_of_topic(const char *topic);

static const MaMapping mapping = {check, changed, summary};

/* Columns that are mapped to the topic. */
static List *
uses_of_topic(const char *topic)
{
	size_t		length = strlen(topic);
	List	   *uses = NIL;
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, ma_definitions()->sources)
	{
		MaSource   *source = lfirst(cell);

		foreach(inner, source->mapped)
		{
			MaMappedColumn *column = lfirst(inner);

			if (strncmp(column->name, topic, length) == 0 && column->name[length] == '/')
				uses = lappend(uses, psprintf("column %s.%s (consent of attach_contacts)",
											  source->name, column->column));
		}
	}
	return uses;
}

void
ma_consent_columns_init(void)
{
	ma_register_uses("topic", uses_of_topic);
	ma_register_mapping(&mapping);
}

/* "offers/email" */
static MaTopic *
topic_and_channel(const char *name, char **channel)
{
	const char *slash = strchr(name, '/');

	*channel = pstrdup(slash + 1);
	return ma_topic_by_name(pnstrdup(name, slash - name));
}

static void
check(const char *name)
{
	char	   *channel;
	MaTopic    *topic = topic_and_channel(name, &channel);

	if (topic == NULL)
		topic = ma_topic_required(pnstrdup(name, strchr(name, '/') - name));
	ma_channel_check(channel);
	if (topic->kind == MA_TOPIC_TRANSACTIONAL || !ma_topic_has_channel(topic, channel))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 topic->kind == MA_TOPIC_TRANSACTIONAL ?
				 errmsg("topic \"%s\" needs no consent", topic->name) :
				 errmsg("topic \"%s\" has no channel \"%s\"", topic->name, channel),
				 errdetail("It was given in consent as \"%s\".", name)));
}

static MaConsentState
state_of(const char *value)
{
	if (value == NULL)
		return MA_CONSENT_NONE;
	return strcmp(value, "false") == 0 ? MA_CONSENT_OPTED_OUT : MA_CONSENT_OPTED_IN;
}

static void
changed(MaMappedChange *mapped, int n, bool evaluating)
{
	MaConsentChange *changes = palloc0_array(MaConsentChange, n);
	const char *name = NULL;
	MaTopic    *topic = NULL;
	char	   *channel = NULL;
	List	   *channels = NIL;
	int64	   *withdrawn = palloc_array(int64, n);
	int			nwithdrawn = 0;
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		MaConsentChange *change = &changes[count];

		if (name == NULL || strcmp(name, mapped[i].name) != 0)
		{
			name = mapped[i].name;
			topic = topic_and_channel(name, &channel);
		}
		if (topic == NULL)
			continue;
		change->contact_id = mapped[i].contact_id;
		change->topic_id = topic->id;
		change->channel = channel;
		change->state = state_of(mapped[i].new_value);
		change->origin = psprintf("column %s.%s", mapped[i].source->name, mapped[i].column);
		/* A table that is attached tells no news. */
		change->quiet = !evaluating;
		/* Nor does the worker know whether a row that is new to it was loaded history. */
		change->enroll = ma_guc_enroll &&
			!(ma_worker_is_active() && mapped[i].old_value == NULL);
		if (evaluating && change->state != MA_CONSENT_OPTED_IN)
		{
			withdrawn[nwithdrawn++] = change->contact_id;
			channels = list_append_unique_ptr(channels, channel);
		}
		count++;
	}
	if (nwithdrawn > 0)
		ma_recipients_lock(withdrawn, nwithdrawn, channels, false);
	(void) ma_consent_append(changes, count, evaluating);
}

/* "0 with consent for any topic" */
static char *
summary(const MaSource *source)
{
	static MaStatement count = {
		"SELECT pg_catalog.btrim(pg_catalog.to_char(pg_catalog.count(DISTINCT k.contact_id), "
		"'999,999,999,999')) FROM marketing_internal.consent AS c "
		"JOIN marketing_internal.contact_key AS k "
		"ON k.contact_id OPERATOR(pg_catalog.=) c.contact_id "
		"WHERE k.source_id OPERATOR(pg_catalog.=) $1 AND NOT k.excluded "
		"AND c.state OPERATOR(pg_catalog.=) 'opted_in'",
		1, {INT4OID}
	};
	Datum		value = Int32GetDatum(source->id);
	MaRows		rows = ma_run_once(count.sql, 1, count.argtypes, &value, NULL, MA_RUN_READ_LATEST);

	return psprintf("%s with consent for any topic", ma_text(&rows, 0, 1));
}
