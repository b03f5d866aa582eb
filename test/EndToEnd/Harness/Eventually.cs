using System.Diagnostics;

namespace OrleansCluster.EndToEnd.Harness;

/// <summary>Waits for a condition of another process by asking again; a time-out says what was seen last.</summary>
internal static class Eventually
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    /// <summary>Asks until <paramref name="holds"/> accepts the answer, and returns it.</summary>
    /// <param name="what">What is waited for, as the end of the sentence "timed out waiting until …".</param>
    /// <param name="ask">Fetches the present state; what it throws counts as "not yet".</param>
    /// <param name="holds">Whether the state is the one waited for.</param>
    /// <param name="limit">How long to wait; a minute if not given.</param>
    public static async Task<T> GetAsync<T>(
        string what, Func<CancellationToken, Task<T>> ask, Func<T, bool> holds, TimeSpan? limit = null)
    {
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        TimeSpan longest = limit ?? TimeSpan.FromSeconds(60);
        long begin = Stopwatch.GetTimestamp();
        string last = "nothing";
        while (true)
        {
            try
            {
                T state = await ask(cancellation);
                if (holds(state))
                    return state;
                last = Describe(state);
            }
            catch (Exception error) when (error is not GiveUpException && !cancellation.IsCancellationRequested)
            {
                last = error.ToString();
            }

            if (Stopwatch.GetElapsedTime(begin) > longest)
                throw new TimeoutException($"Timed out after {longest.TotalSeconds:0} s waiting until {what}. Seen last: {last}");
            // The condition lies in another process and sends no signal here, so the clock paces the questions.
            await Task.Delay(Pause, cancellation);
        }
    }

    private static string Describe<T>(T state) => state switch
    {
        null => "null",
        string text => text,
        System.Collections.IEnumerable items => "[" + string.Join("; ", items.Cast<object>()) + "]",
        _ => state.ToString() ?? "null",
    };

    public static Task TrueAsync(string what, Func<CancellationToken, Task<bool>> ask, TimeSpan? limit = null) =>
        GetAsync(what, ask, static answer => answer, limit);
}

/// <summary>Thrown by a condition that can no longer come true, so that nobody waits for the time-out.</summary>
internal sealed class GiveUpException(string message) : Exception(message);
