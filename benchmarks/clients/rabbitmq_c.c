/*
 * One measurement of rabbitmq-c, through its ordinary public API.
 *
 * Owns what the C client does in each scenario; knows nothing of the other clients. Compiled and started by
 * benchmarks/peers.py, which passes the URI in TXPIKA_BENCH_URI. Prints one JSON object with the same keys as
 * benchmarks/measure.py. Publishes go to one channel after the other; deliveries are acked one by one.
 *
 * usage: rabbitmq_c ACTION QUEUE MESSAGES WARMUP SIZE PREFETCH WINDOW CHANNELS CONSUMERS
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const int CHANNEL = 1;        /* the first; it does all but publish */
static const int OPENED_BEFORE = 10; /* before those whose memory counts */
static const int FRAME_MAX = 131072; /* bytes, RabbitMQ's own default */
static const int HEARTBEAT = 60;     /* seconds, what RabbitMQ offers and the other clients accept */

static amqp_connection_state_t connection;
static amqp_bytes_t queue;
static long channels = 1, next_channel = 1;

static double cpu_at_start, wall_at_start;
static long resident_at_start; /* bytes */

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static void check(int status, const char *doing) {
  if (status < 0) fail("%s: %s", doing, amqp_error_string2(status));
}

static void check_reply(amqp_rpc_reply_t reply, const char *doing) {
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) fail("%s: %s", doing, amqp_error_string2(reply.library_error));
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("%s: the broker closed the channel or the connection", doing);
}

/* CPU of this process so far, user and system, in seconds. */
static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double wall_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

/* A line of /proc/self/status that counts in kB, as bytes; 0 where there is none. */
static long status_bytes(const char *key) {
  char line[256];
  long kilobytes = 0;
  FILE *status = fopen("/proc/self/status", "r");
  if (status == NULL) return 0;
  while (fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0) kilobytes = atol(line + strlen(key) + 1);
  }
  fclose(status);
  return kilobytes * 1024;
}

/* Make the kernel forget the highest resident size seen so far (proc(5), clear_refs). */
static void forget_peak(void) {
  int file = open("/proc/self/clear_refs", O_WRONLY);
  if (file < 0) return;
  if (write(file, "5", 1) != 1) fail("cannot reset the peak resident size");
  close(file);
}

static void start_meter(void) {
  forget_peak();
  resident_at_start = status_bytes("VmRSS");
  wall_at_start = wall_seconds();
  cpu_at_start = cpu_seconds();
}

static void stop_meter(long messages, const char *memory) {
  double cpu = cpu_seconds() - cpu_at_start;
  double wall = wall_seconds() - wall_at_start;
  long grown = status_bytes(memory) - resident_at_start;
  printf("{\"messages\": %ld, \"cpu\": %.6f, \"wall\": %.6f, \"grown\": %ld, \"version\": \"%s\"}\n",
         messages, cpu, wall, grown, amqp_version());
}

static void open_channel(amqp_connection_state_t on, long number) {
  amqp_channel_open(on, number);
  check_reply(amqp_get_rpc_reply(on), "opening a channel");
}

static amqp_connection_state_t connect_to_broker(void) {
  struct amqp_connection_info info;
  const char *given = getenv("TXPIKA_BENCH_URI");
  char *uri = strdup(given != NULL ? given : "amqp://guest:guest@127.0.0.1:5672/%2F");
  amqp_connection_state_t made = amqp_new_connection();
  amqp_default_connection_info(&info);
  check(amqp_parse_url(uri, &info), "reading the URI");
  check(amqp_socket_open(amqp_tcp_socket_new(made), info.host, info.port), "connecting");
  check_reply(amqp_login(made, info.vhost, AMQP_DEFAULT_MAX_CHANNELS, FRAME_MAX, HEARTBEAT, AMQP_SASL_METHOD_PLAIN,
                         info.user, info.password),
              "logging in");
  free(uri);
  return made;
}

/* One passive declare round trip: when it is answered, the broker has taken all this channel sent before. */
static void ask(void) {
  amqp_queue_declare(connection, CHANNEL, queue, 1, 0, 0, 0, amqp_empty_table);
  check_reply(amqp_get_rpc_reply(connection), "declaring passively");
  amqp_maybe_release_buffers(connection);
}

static void publish_one(amqp_bytes_t body) {
  amqp_basic_properties_t properties;
  properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
  properties.delivery_mode = 1;
  check(amqp_basic_publish(connection, next_channel, amqp_empty_bytes, queue, 0, 0, &properties, body), "publishing");
  if (++next_channel > channels) next_channel = 1;
}

static void publish(long messages, amqp_bytes_t body) {
  for (long i = 0; i < messages; i++) publish_one(body);
  ask();
}

/* What became of the publishes in confirm mode; delivery tags count from 1. */
static unsigned char *confirmed;
static long lowest_unconfirmed = 1, published = 0, outstanding = 0;

static void select_confirms(long publishes) {
  confirmed = calloc(publishes + 1, 1);
  amqp_confirm_select(connection, CHANNEL);
  check_reply(amqp_get_rpc_reply(connection), "selecting confirms");
}

/* Take one frame from the broker, and note the publishes it confirms. */
static void wait_for_confirm(void) {
  amqp_frame_t frame;
  amqp_basic_ack_t *ack;
  check(amqp_simple_wait_frame(connection, &frame), "waiting for a confirm");
  if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) fail("not a basic.ack");
  ack = frame.payload.method.decoded;
  if (ack->multiple) {
    for (; lowest_unconfirmed <= (long)ack->delivery_tag; lowest_unconfirmed++) outstanding -= !confirmed[lowest_unconfirmed];
  } else {
    confirmed[ack->delivery_tag] = 1;
    outstanding--;
  }
  amqp_maybe_release_buffers(connection);
}

static void publish_confirmed(long messages, amqp_bytes_t body, long window) {
  long last = published + messages;
  while (published < last || outstanding > 0) {
    for (; outstanding < window && published < last; published++, outstanding++) publish_one(body);
    wait_for_confirm();
  }
  ask();
}

static void ack(uint64_t delivery_tag) {
  check(amqp_basic_ack(connection, CHANNEL, delivery_tag, 0), "acknowledging");
}

/* Take one message. Return its delivery tag. */
static uint64_t take_one(size_t size) {
  amqp_envelope_t envelope;
  uint64_t delivery_tag;
  amqp_maybe_release_buffers(connection);
  check_reply(amqp_consume_message(connection, &envelope, NULL, 0), "consuming");
  if (envelope.message.body.len != size) fail("a body of %zu bytes", envelope.message.body.len);
  delivery_tag = envelope.delivery_tag;
  amqp_destroy_envelope(&envelope);
  return delivery_tag;
}

/* What is delivered before all are there waits in the library. */
static void start_consumers(long consumers, int no_ack) {
  for (long i = 0; i < consumers; i++) {
    amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, 0, no_ack, 0, amqp_empty_table);
    check_reply(amqp_get_rpc_reply(connection), "starting a consumer");
  }
}

static void consume(long messages, long warmup, int no_ack, int prefetch, size_t size, long consumers) {
  if (!no_ack) {
    amqp_basic_qos(connection, CHANNEL, 0, prefetch, consumers > 0);
    check_reply(amqp_get_rpc_reply(connection), "setting the prefetch");
  }
  if (warmup == 0) start_meter();
  start_consumers(consumers > 0 ? consumers : 1, no_ack);
  for (long i = 1; i <= messages + warmup; i++) {
    uint64_t delivery_tag = take_one(size);
    if (!no_ack) ack(delivery_tag);
    if (i == warmup) start_meter();
  }
  ask();
}

static void declare_passively(long messages) {
  for (long i = 0; i < messages; i++) ask();
}

/* Open things, and keep them: connections, or else channels on the first connection. */
static void open_many(int connections, long wanted) {
  for (long i = 0; i < wanted + OPENED_BEFORE; i++) {
    if (i == OPENED_BEFORE) start_meter();
    if (connections) {
      connect_to_broker();
    } else {
      open_channel(connection, i + 1);
    }
  }
  stop_meter(wanted, "VmRSS");
}

int main(int count, char **arguments) {
  if (count != 10) fail("usage: %s ACTION QUEUE MESSAGES WARMUP SIZE PREFETCH WINDOW CHANNELS CONSUMERS", arguments[0]);
  const char *action = arguments[1];
  long messages = atol(arguments[3]), warmup = atol(arguments[4]);
  long consumers = atol(arguments[9]);
  amqp_bytes_t body;
  queue = amqp_cstring_bytes(arguments[2]);
  body.len = atol(arguments[5]);
  body.bytes = malloc(body.len + 1);
  memset(body.bytes, 'x', body.len);
  connection = connect_to_broker();
  if (strcmp(action, "connections") == 0 || strcmp(action, "channels") == 0) {
    open_many(strcmp(action, "connections") == 0, messages);
    return 0;
  }
  channels = atol(arguments[8]);
  for (long i = 1; i <= channels; i++) open_channel(connection, i);
  if (strcmp(action, "publish") == 0) {
    publish(warmup, body);
    start_meter();
    publish(messages, body);
  } else if (strcmp(action, "confirmed") == 0) {
    select_confirms(warmup + messages);
    publish_confirmed(warmup, body, atol(arguments[7]));
    start_meter();
    publish_confirmed(messages, body, atol(arguments[7]));
  } else if (strcmp(action, "consume") == 0 || strcmp(action, "auto_ack") == 0) {
    int no_ack = strcmp(action, "auto_ack") == 0;
    consume(messages, warmup, no_ack, atoi(arguments[6]), body.len, consumers);
  } else if (strcmp(action, "declare") == 0) {
    declare_passively(warmup);
    start_meter();
    declare_passively(messages);
  } else {
    fail("no such action: %s", action);
  }
  stop_meter(messages, "VmHWM");
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
  free(body.bytes);
  return 0;
}
