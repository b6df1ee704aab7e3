// Threads that take numbered tasks as they come free, so that a busy core takes fewer of them.
#pragma once

namespace tt {

// Calls run(context, task) once for each task in [0, tasks), lower numbers first, on the calling thread and at most
// threads - 1 others; returns when all are done. May be called from several threads at once, and after fork(). `run`
// neither throws nor calls this function.
void parallel_for(int tasks, int threads, void (*run)(void *context, int task), void *context);

// To be called where a parallel_for is about to follow: wakes up to threads - 1 workers, which then look out for it, so that
// they wake while the caller still prepares it.
void rouse(int threads);

template <class Task>
void parallel_for(int tasks, int threads, const Task &task) {
  parallel_for(
      tasks, threads, [](void *context, int number) { (*static_cast<const Task *>(context))(number); },
      const_cast<Task *>(&task));
}

}  // namespace tt
