/* A user's program in C. */
#include <stdio.h>
#include <vivace/c.h>

int main(int argc, char** argv) {
  VivacePipeline* pipeline = NULL;
  VivaceCallOptions options;
  VivaceOutput* output = NULL;
  VivaceStatus status;
  if (argc < 3) return 2;
  status = vivace_pipeline_load(argv[1], NULL, &pipeline);
  vivace_call_options(&options);
  options.num_inference_steps = 2;
  if (status == VIVACE_OK) status = vivace_pipeline_call(pipeline, "rocket", &options, &output);
  if (status == VIVACE_OK) status = vivace_image_save(vivace_output_image(output, 0), argv[2]);
  if (status != VIVACE_OK) fprintf(stderr, "%s\n", vivace_last_error());
  vivace_output_free(output);
  vivace_pipeline_free(pipeline);
  return (int)status;
}
