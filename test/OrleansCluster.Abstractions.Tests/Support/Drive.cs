using Microsoft.Extensions.Time.Testing;

namespace OrleansCluster.Abstractions.Tests.Support;

internal static class Drive
{
    /// <summary>Lets the clock run until a task that waits for it has ended.</summary>
    public static async Task<T> RunAsync<T>(this FakeTimeProvider time, Task<T> task)
    {
        while (!task.IsCompleted)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }
        return await task;
    }

    /// <summary>Waits until a condition holds that work in the background brings about.</summary>
    public static async Task UntilAsync(Func<bool> condition)
    {
        var cancellation = TestContext.Current.CancellationToken;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(30));
        while (!condition())
            await Task.Delay(TimeSpan.FromMilliseconds(5), limit.Token);
    }
}
