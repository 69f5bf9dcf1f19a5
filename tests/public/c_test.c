/* A program in C: what it draws, what it is told, and that nothing but a status comes back. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vivace/c.h>

static int failures;

#define EXPECT(condition)                                                                                   \
  do {                                                                                                      \
    if (!(condition)) {                                                                                     \
      fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, vivace_last_error()); \
      ++failures;                                                                                           \
    }                                                                                                       \
  } while (0)

/* What other versions of the library must find where this one does. */
_Static_assert(sizeof(VivacePretrainedOptions) == 64, "fields are added at the end");
_Static_assert(sizeof(VivaceCallOptions) == 120, "fields are added at the end");
_Static_assert(offsetof(VivaceCallOptions, seed) == 72, "fields are added at the end");

struct Steps {
  int taken, stop_at;
  VivaceNext then;
};

static VivaceNext on_step(const VivaceProgress* progress, void* data) {
  struct Steps* steps = data;
  EXPECT(progress->step == ++steps->taken);
  EXPECT(progress->rank == 4 && progress->shape[0] == 1 && progress->latents != NULL);
  return progress->step == steps->stop_at ? steps->then : VIVACE_CONTINUE;
}

static void* request_stop(void* stop) {
  vivace_stop_request(stop);
  return NULL;
}

static VivaceOutput* draw(const VivacePipeline* pipeline, const VivaceCallOptions* options) {
  VivaceOutput* output = NULL;
  EXPECT(vivace_pipeline_call(pipeline, "a red apple", options, &output) == VIVACE_OK);
  return output;
}

static int same(const VivaceOutput* a, const VivaceOutput* b) {
  const VivaceImage *x = vivace_output_image(a, 0), *y = vivace_output_image(b, 0);
  const size_t count = (size_t)vivace_image_height(x) * (size_t)vivace_image_width(x) * 3;
  return vivace_image_width(x) == vivace_image_width(y) && memcmp(vivace_image_values(x), vivace_image_values(y), count * sizeof(float)) == 0;
}

static void test_errors(void) {
  VivacePipeline* pipeline = (VivacePipeline*)1;
  VivacePretrainedOptions options;
  VivaceImage* image = NULL;
  uint8_t pixel[3] = {1, 2, 3}, back[3] = {0, 0, 0};
  EXPECT(strcmp(vivace_last_error(), "") == 0);
  EXPECT(vivace_pipeline_load("no-such-folder", NULL, &pipeline) == VIVACE_INPUT);
  EXPECT(pipeline == NULL && strstr(vivace_last_error(), "no-such-folder") != NULL);
  EXPECT(vivace_pipeline_load(NULL, NULL, &pipeline) == VIVACE_USAGE);
  EXPECT(vivace_pipeline_load("x", NULL, NULL) == VIVACE_USAGE);
  vivace_pretrained_options(&options);
  options.dtype = "float33";
  EXPECT(vivace_pipeline_load("x", &options, &pipeline) == VIVACE_USAGE);
  EXPECT(strstr(vivace_last_error(), "float33") != NULL);
  EXPECT(vivace_image_load("no-such.png", &image) == VIVACE_INPUT && image == NULL);
  EXPECT(vivace_image_from_pixels(0, 1, pixel, &image) == VIVACE_USAGE);
  EXPECT(vivace_image_from_pixels(1, 1, pixel, &image) == VIVACE_OK);
  EXPECT(vivace_image_pixels(image, back) == VIVACE_OK && memcmp(pixel, back, 3) == 0);
  EXPECT(vivace_image_save(image, "x.gif") == VIVACE_USAGE);
  vivace_image_free(image);
  vivace_image_free(NULL);
  vivace_pipeline_free(NULL);
  vivace_output_free(NULL);
  vivace_stop_free(NULL);
}

/* Structs of programs that know fewer fields, or more. */
static void test_versions(const VivacePipeline* pipeline, const VivaceOutput* right) {
  struct {
    VivaceCallOptions known;
    int more;
  } newer;
  VivaceCallOptions options;
  VivaceOutput* output = NULL;
  const size_t older = offsetof(VivaceCallOptions, has_seed);
  size_t i = 0;
  memset(&options, 'x', sizeof options);
  vivace_call_options_init(&options, older);
  EXPECT(options.size == older && options.strength == -1);
  for (i = older; i < sizeof options; ++i) EXPECT(((const char*)&options)[i] == 'x'); /* where the program has something else */
  memset(&newer, 'x', sizeof newer);
  vivace_call_options_init(&newer.known, sizeof newer);
  EXPECT(newer.known.size == sizeof newer && newer.more == 0);
  newer.known.num_inference_steps = 2;
  newer.known.height = newer.known.width = 64;
  newer.known.has_seed = 1;
  newer.known.seed = 7;
  output = draw(pipeline, &newer.known);
  EXPECT(same(output, right));
  vivace_output_free(output);
  newer.more = 1;
  EXPECT(vivace_pipeline_call(pipeline, "x", &newer.known, &output) == VIVACE_USAGE);
  options = newer.known;
  options.size = older; /* all behind it are defaults */
  output = draw(pipeline, &options);
  EXPECT(!same(output, right));
  vivace_output_free(output);
  options.size = 0;
  EXPECT(vivace_pipeline_call(pipeline, "x", &options, &output) == VIVACE_USAGE);
}

int main(int argc, char** argv) {
  VivacePipeline* pipeline = NULL;
  VivaceCallOptions options;
  VivacePretrainedOptions load;
  VivaceOutput *output = NULL, *again = NULL;
  VivaceStop* stop = NULL;
  VivaceImage* picture = NULL;
  struct Steps steps = {0, 0, VIVACE_CONTINUE};
  uint8_t* pixels = NULL;
  pthread_t thread;
  if (argc < 2) return 2;
  EXPECT(strlen(vivace_version()) >= 5);
  test_errors();
  vivace_pretrained_options(&load);
  load.cache = 0;
  EXPECT(vivace_pipeline_load(argv[1], &load, &pipeline) == VIVACE_OK);
  if (!pipeline) return 1;
  EXPECT(strcmp(vivace_pipeline_class_name(pipeline), "StableDiffusionXLPipeline") == 0);
  vivace_call_options(&options);
  options.height = options.width = 64;
  options.num_inference_steps = 2;
  options.has_seed = 1;
  options.seed = 7;
  options.on_step = on_step;
  options.data = &steps;
  output = draw(pipeline, &options);
  EXPECT(vivace_pipeline_set_adapters(pipeline, NULL, NULL, 1) == VIVACE_USAGE && strstr(vivace_last_error(), "names is NULL") != NULL);
  EXPECT(steps.taken == 2 && vivace_output_count(output) == 1 && vivace_output_seed(output, 0) == 7 && vivace_output_image(output, 1) == NULL);
  test_versions(pipeline, output);
  options.on_step = NULL;
  options.num_images_per_prompt = 2;
  again = draw(pipeline, &options);
  EXPECT(again && vivace_output_count(again) == 2 && vivace_output_seed(again, 1) == 7 && vivace_output_seed(again, 2) == 0);
  vivace_output_free(again);
  options.num_images_per_prompt = 0;
  options.on_step = on_step;

  /* To the end of a step, and out of the middle of one. */
  options.num_inference_steps = 50;
  steps.taken = 0, steps.stop_at = 1, steps.then = VIVACE_FINISH;
  again = draw(pipeline, &options);
  EXPECT(steps.taken == 1 && !same(output, again));
  vivace_output_free(again);
  steps.taken = 0, steps.then = VIVACE_CANCEL;
  EXPECT(vivace_pipeline_call(pipeline, "x", &options, &again) == VIVACE_INTERRUPTED && again == NULL && steps.taken == 1);
  EXPECT(vivace_stop_new(&stop) == VIVACE_OK);
  options.stop = stop;
  options.on_step = NULL;
  options.num_inference_steps = 1000;
  pthread_create(&thread, NULL, request_stop, stop);
  EXPECT(vivace_pipeline_call(pipeline, "x", &options, &again) == VIVACE_INTERRUPTED);
  pthread_join(thread, NULL);
  vivace_stop_free(stop);
  options.stop = NULL;
  options.num_inference_steps = 2;
  options.height = 63;
  EXPECT(vivace_pipeline_call(pipeline, "x", &options, &again) == VIVACE_USAGE);
  EXPECT(strstr(vivace_last_error(), "63") != NULL);
  options.height = 64;
  options.guidance_scale = -3; /* -1 alone is the default */
  again = draw(pipeline, &options);
  EXPECT(again && !same(output, again));
  vivace_output_free(again);
  options.guidance_scale = -1;
  options.strength = 0.5; /* which needs a picture */
  EXPECT(vivace_pipeline_call(pipeline, "x", &options, &again) == VIVACE_USAGE);
  vivace_pipeline_free(pipeline);

  /* A picture from a picture. */
  pixels = malloc(64 * 64 * 3);
  EXPECT(vivace_image_pixels(vivace_output_image(output, 0), pixels) == VIVACE_OK);
  EXPECT(vivace_image_from_pixels(64, 64, pixels, &picture) == VIVACE_OK);
  load.pipeline_class = "StableDiffusionXLImg2ImgPipeline";
  EXPECT(vivace_pipeline_load(argv[1], &load, &pipeline) == VIVACE_OK);
  options.image = picture;
  options.height = options.width = 0;
  options.num_inference_steps = 4;
  options.strength = -0.5;
  EXPECT(vivace_pipeline_call(pipeline, "x", &options, &again) == VIVACE_USAGE);
  options.strength = 0.5;
  again = draw(pipeline, &options);
  EXPECT(again && vivace_image_width(vivace_output_image(again, 0)) == 64 && !same(output, again));
  vivace_output_free(again);
  vivace_output_free(output);
  vivace_image_free(picture);
  vivace_pipeline_free(pipeline);
  free(pixels);
  if (failures == 0) puts("all as expected");
  return failures ? 1 : 0;
}
